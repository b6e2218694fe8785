import { spawn } from 'node:child_process'
import { cp, mkdir, readFile } from 'node:fs/promises'
import path from 'node:path'

export interface Step {
  instruction: string
  /** All that stands after the instruction. */
  text: string
  /** Of the exec form; of others, the words. */
  words: string[]
}

export interface Stage {
  base: string
  name: string
  steps: Step[]
}

/** A stage as it was carried out, with folders in the place of an image. */
export interface Built {
  stage: Stage
  /** Its working folder. */
  folder: string
  env: Record<string, string>
}

/** As much of the language as our file uses; what it does not know it refuses. */
export function parseDockerfile(source: string): Stage[] {
  const stages: Stage[] = []
  const lines = source.replaceAll(/^\s*#.*\n?/gm, '').replaceAll(/\\\n/g, ' ')
  for (const line of lines.split('\n').filter((line) => line.trim() !== '')) {
    const [, instruction = '', text = ''] = /^\s*([A-Z]+)\s+(.*?)\s*$/.exec(line) ?? []
    const words = text.startsWith('[') ? JSON.parse(text) : text.split(/\s+/)
    if (instruction === 'FROM') stages.push({ base: words[0], name: words[2] ?? '', steps: [] })
    else if (KNOWN.has(instruction)) stages.at(-1)!.steps.push({ instruction, text, words })
    else throw new Error(`not known here: ${line}`)
  }
  return stages
}

const KNOWN = new Set(
  'WORKDIR COPY RUN ENV USER EXPOSE HEALTHCHECK CMD'.split(' ') as readonly string[],
)

/**
 * Carries out the stages one after the other, each in an empty folder: what Docker would do, less the
 * base image, the user and the walls around it.
 *
 * @param env what every command finds in its environment
 */
export async function buildIn(
  work: string,
  context: string,
  stages: readonly Stage[],
  env: Record<string, string>,
): Promise<Built[]> {
  const built: Built[] = []
  const isSent = await contextFilter(context)
  for (const [i, stage] of stages.entries()) {
    const root = path.join(work, String(i))
    const here: Built = { stage, folder: root, env: { ...env } }
    for (const { instruction, text, words } of stage.steps) {
      await mkdir(here.folder, { recursive: true })
      if (instruction === 'WORKDIR') here.folder = path.join(root, text)
      if (instruction === 'ENV') Object.assign(here.env, Object.fromEntries([text.split('=', 2)]))
      if (instruction === 'RUN') await runHere(here, text)
      if (instruction === 'COPY') await copy(here, words)
    }
    built.push(here)
  }
  return built

  async function copy({ folder }: Built, words: string[]) {
    const from = /^--from=(.+)$/.exec(words[0]!)?.[1]
    const sources = from === undefined ? words.slice(0, -1) : words.slice(1, -1)
    const other = built.find(({ stage }) => stage.name === from)
    for (const source of sources) {
      const origin = other
        ? path.join(path.dirname(other.folder), source)
        : path.join(context, source)
      const target = path.join(folder, words.at(-1)!)
      const isFolder = words.at(-1)!.endsWith('/') && source !== '.'
      await cp(origin, isFolder ? path.join(target, path.basename(source)) : target, {
        recursive: true,
        verbatimSymlinks: true,
        filter: (file) => from !== undefined || isSent(path.relative(context, file)),
      })
    }
  }
}

/** What .dockerignore lets into the image, by path from the top folder. */
export async function contextFilter(context: string): Promise<(file: string) => boolean> {
  const source = await readFile(path.join(context, '.dockerignore'), 'utf8')
  const rules = source
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => ({ sent: line.startsWith('!'), pattern: patternOf(line.replace(/^!/, '')) }))
  // As in Docker: the last rule that speaks of a file, or of a folder that it is in, decides.
  return (file) =>
    file === '' || (rules.findLast(({ pattern }) => pattern.test(file))?.sent ?? true)
}

function patternOf(rule: string): RegExp {
  const [deep, name] = rule.startsWith('**/') ? ['(.*/)?', rule.slice(3)] : ['', rule]
  const escaped = name.replaceAll(/[.+()]/g, '\\$&').replaceAll('*', '[^/]*')
  return new RegExp(`^${deep}${escaped}(/.*)?$`)
}

function runHere({ folder, env }: Built, command: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn('/bin/sh', ['-c', command], { cwd: folder, env, stdio: 'pipe' })
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (data) => {
        output += data
      })
    child.on('close', (code) =>
      code === 0 ? resolve() : reject(new Error(`RUN ${command}: ${code}\n${output}`)),
    )
  })
}
