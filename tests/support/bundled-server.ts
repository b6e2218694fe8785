import { randomUUID } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build, type Plugin } from 'esbuild'

const root = fileURLToPath(new URL('../..', import.meta.url))
/** Inside the project, so that imports of packages resolve. */
const FOLDER = path.join(root, 'node_modules/.cache/tasktide-tests')

/** What the scripts of the same name in `scripts/` run. */
const STARTS = {
  web: 'runFromEnvironment()',
  worker: 'runWorkerFromEnvironment()',
  'user-command': 'runUserCommand(process.argv.slice(2))',
}

export type ServerEntry = keyof typeof STARTS

const bundled = new Map<ServerEntry, Promise<string>>()

/**
 * A script that runs an entry point of `server/processes/`, with all of its sources in one file: it starts in a
 * third of the time of one that compiles them.
 */
export function bundledServer(entry: ServerEntry): Promise<string> {
  const known = bundled.get(entry) ?? bundle(entry)
  bundled.set(entry, known)
  return known
}

async function bundle(entry: ServerEntry): Promise<string> {
  const program = `import * as entry from './server/processes/${entry}.ts'; await entry.${STARTS[entry]}`
  const file = path.join(FOLDER, `${entry}.mjs`)
  await bundleProgram(program, root, file)
  return file
}

/** Bundles a program, whose imports begin in `folder`, into a file that Node runs. */
export async function bundleProgram(program: string, folder: string, file: string): Promise<void> {
  const { outputFiles } = await build({
    stdin: { contents: program, resolveDir: folder },
    bundle: true,
    write: false,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    logLevel: 'error',
    plugins: [filesBesideSources],
  })
  const draft = `${file}.${randomUUID()}.draft`
  await mkdir(path.dirname(file), { recursive: true })
  await writeFile(draft, outputFiles[0]!.contents)
  // Whole, for processes that other test files start meanwhile.
  await rename(draft, file)
}

/** Sources look for files at places relative to their own. */
const filesBesideSources: Plugin = {
  name: 'files beside sources',
  setup(build) {
    build.onLoad({ filter: /\.(ts|mjs)$/ }, async ({ path: file }) => {
      const source = await readFile(file, 'utf8')
      const contents = source
        .replaceAll('import.meta.url', JSON.stringify(pathToFileURL(file).href))
        .replaceAll('import.meta.dirname', JSON.stringify(path.dirname(file)))
      return { contents, loader: 'ts' }
    })
  },
}
