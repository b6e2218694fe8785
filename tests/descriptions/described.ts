import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import type { TestServer } from '../support/server.ts'

const folder = import.meta.dirname
const run = promisify(execFile)

/** Writes the descriptions that a server serves to files of a folder, for programs that read files. */
export async function writeDescriptions({ call }: Pick<TestServer, 'call'>, to: string) {
  for (const [name, at] of Object.entries({ openapi: 'schema', asyncapi: 'asyncapi' })) {
    const { body } = await call('GET', `/api/${at}/`)
    await writeFile(path.join(to, `${name}.json`), JSON.stringify(body, null, 2))
  }
}

/**
 * Runs a program of the packages of this folder, or the one at an absolute path.
 *
 * @returns what it prints
 * @throws if it fails, with what it prints
 */
export async function runTool(
  name: string,
  parameters: readonly string[],
  environment: Record<string, string> = {},
): Promise<string> {
  const options = { cwd: folder, env: { ...process.env, ...SILENT, ...environment } }
  const program = path.resolve(folder, 'node_modules/.bin', name)
  const { stdout, stderr } = await run(program, parameters, options).catch((error) => {
    throw new Error(`${name} failed:\n${error.stdout}\n${error.stderr}`)
  })
  return stdout + stderr
}

/** They would report to their makers, or look for newer versions. */
const SILENT = { REDOCLY_TELEMETRY: 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE: 'true', NO_COLOR: '1' }
