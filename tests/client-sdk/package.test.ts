import { execFile } from 'node:child_process'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { gzipSync } from 'node:zlib'
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core'
import { build } from 'esbuild'
import { publint } from 'publint'
import { build as viteBuild } from 'vite'
import { afterAll, beforeAll, expect, test } from 'vitest'
// @ts-expect-error: a script without types
import { ensureTarball } from '../../client-sdk/build/tarball.mjs'
import { startServer, type TestServer } from '../support/server.ts'

const ENTRIES = ['', '/dexie', '/key-value', '/sqlite', '/react', '/react-native', '/testing'].map(
  (entry) => `@tasktide/client${entry}`,
)
const root = path.join(import.meta.dirname, '../..')
const tsc = path.join(root, 'node_modules/typescript/bin/tsc')

let server: TestServer
let project: string
beforeAll(async () => {
  await ensureTarball()
  server = await startServer({ PUBLIC_URL: 'https://tasks.example.com' })
  project = await mkdtemp(path.join(tmpdir(), 'tasktide-empty-'))
  await writeFile(path.join(project, 'package.json'), '{"type": "module", "private": true}')
  const quick = ['--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts']
  const react = [
    'react@19',
    '@types/react@19',
    'react-test-renderer@19',
    '@types/react-test-renderer@19',
  ]
  await run('npm', ['install', ...quick, `${server.url}/client.tgz`, ...react], { cwd: project })
}, 180_000)
afterAll(async () => {
  await server.stop()
  await rm(project, { recursive: true, force: true })
})

test('an app in an empty project type-checks, runs and renders', async () => {
  await cp(
    path.join(import.meta.dirname, 'empty-project/story.ts.txt'),
    path.join(project, 'story.ts'),
  )
  const compilerOptions = {
    target: 'es2023',
    module: 'nodenext',
    lib: ['es2023', 'dom'],
    types: [],
    typeRoots: [path.join(root, 'node_modules/@types')],
    strict: true,
    skipLibCheck: true,
    outDir: 'out',
    rootDir: '.',
  }
  await writeFile(
    path.join(project, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: { ...compilerOptions, types: ['node'] },
      files: ['story.ts'],
    }),
  )
  await run(process.execPath, [tsc, '-p', project])
  const stdout = await run(process.execPath, ['out/story.js', server.url], { cwd: project })
  expect(stdout.split('\n')).toEqual([
    '-: … (signed_out)',
    'maria: Ferry (synced)',
    '-: … (signed_out)',
    '',
  ])
})

/** RxDB's types need the newest library, and are wrong for node16 themselves. */
test.each([
  ['bundler', 'esnext', ''],
  ['nodenext', 'nodenext', ''],
  ['node16', 'node16', 'node_modules/rxdb/'],
])('no declaration has an error with moduleResolution %s', async (resolution, module, others) => {
  const file = path.join(project, `${resolution}.ts`)
  await writeFile(
    file,
    ENTRIES.map((entry, nth) => `export * as entry${nth} from '${entry}'\n`).join(''),
  )
  const flags = ['--noEmit', '--strict', '--skipLibCheck', 'false', '--target', 'es2023']
  const settings = ['--lib', 'esnext,dom', '--types', '', '--ignoreConfig', '--pretty', 'false']
  const modules = ['--module', module, '--moduleResolution', resolution]
  const checked = run(process.execPath, [tsc, ...flags, ...settings, ...modules, file], {
    cwd: project,
  })
  const errors = await checked.catch(({ stdout }: { stdout: string }) => stdout)
  const lines = errors.split('\n').filter((line) => /: error TS/.test(line))
  expect(lines.filter((line) => others === '' || !line.startsWith(others))).toEqual([])
})

test('npm finds the documentation of the server that the client comes from', async () => {
  const manifest = path.join(project, 'node_modules/@tasktide/client/package.json')
  const { homepage, license, version } = JSON.parse(await readFile(manifest, 'utf8'))
  expect([homepage, license]).toEqual(['https://tasks.example.com/api/docs/', 'Apache-2.0'])
  expect(version).toBe((await server.call('GET', '/healthz')).body.version)
})

test('bundlers and compilers resolve every entry point, for ES modules', async () => {
  const response = await fetch(`${server.url}/client.tgz`)
  const bytes = new Uint8Array(await response.arrayBuffer())
  const { problems } = (await checkPackage(createPackageFromTarballData(bytes))) as {
    problems: { kind: string; resolutionKind?: string; entrypoint?: string }[]
  }
  const isForModules = ({ resolutionKind = '' }) =>
    !['node10', 'node16-cjs'].includes(resolutionKind)
  expect(problems.filter(isForModules)).toEqual([])
  expect((await publint({ pack: { tarball: bytes.buffer }, strict: true })).messages).toEqual([])
})

test('the types of documents and accounts are those of the protocol', async () => {
  const file = path.join(project, 'same.ts')
  await writeFile(
    file,
    `import type * as published from '@tasktide/client'
import type * as protocol from '${root}/protocol/index.ts'
import type * as derived from '${root}/client-sdk/local/documents.ts'
type Same<A, B> = [A, B] extends [B, A] ? (keyof A extends keyof B ? true : never) : never
type AllSame<A, B> = { [K in keyof A | keyof B]: K extends keyof A & keyof B ? Same<A[K], B[K]> : never }
type AllTrue<A> = { [K in keyof A]: true }
export const account: Same<Required<published.AccountDetails>, protocol.OwnAccount> = true
export const factors: Same<published.Factors, protocol.Factors> = true
export const passkey: Same<published.Passkey, protocol.Passkey> = true
export const device: Same<published.SignedInDevice, protocol.SignedInDevice> = true
export function check(
  documents: AllTrue<derived.Documents>, newDocuments: AllTrue<derived.NewDocuments>,
): [AllSame<published.Documents, derived.Documents>, AllSame<published.NewDocuments, derived.NewDocuments>] {
  return [documents, newDocuments]
}
`,
  )
  const flags = ['--noEmit', '--strict', '--skipLibCheck', '--allowImportingTsExtensions']
  await run(process.execPath, [tsc, ...flags, '--ignoreConfig', '--module', 'preserve', file])
})

const CORE = `import { createClient } from '@tasktide/client'\nglobalThis.used = [createClient]`
const WITH_DEXIE = `${CORE}\nimport { dexieStorage } from '@tasktide/client/dexie'\nglobalThis.used.push(dexieStorage)`
const WITH_KEY_VALUE = `${CORE}\nimport { keyValueStorage } from '@tasktide/client/key-value'\nglobalThis.used.push(keyValueStorage)`

/** Minified and compressed, RxDB, RxJS and Socket.IO included. */
test.each([
  ['the core', CORE, 88],
  ['with Dexie', WITH_DEXIE, 128],
  ['with a key-value store', WITH_KEY_VALUE, 94],
])('%s stays within its size budget', async (_what, contents, budget) => {
  const { outputFiles, metafile } = await build({
    stdin: { contents, resolveDir: project },
    bundle: true,
    minify: true,
    write: false,
    metafile: true,
    format: 'esm',
    target: 'es2022',
  })
  expect(gzipSync(outputFiles[0]!.contents, { level: 9 }).length / 1024).toBeLessThan(budget)
  expect(Object.keys(metafile.inputs).filter((file) => /\/zod\//.test(file))).toEqual([])
})

test('Vite builds it without configuration, and removes unused code', async () => {
  await writeFile(path.join(project, 'main.js'), WITH_DEXIE)
  await writeFile(path.join(project, 'unused.js'), `import '@tasktide/client'`)
  const bundled = async (input: string) => {
    const built = await viteBuild({
      root: project,
      logLevel: 'silent',
      build: { write: false, rollupOptions: { input: path.join(project, input) } },
    })
    const { output } = built as { output: { code?: string }[] }
    return output.map(({ code = '' }) => code).join('')
  }
  expect(await bundled('main.js')).toContain('/replication/')
  expect(await bundled('unused.js')).not.toContain('/replication/')
})

function run(command: string, args: string[], options: { cwd?: string } = {}) {
  return new Promise<string>((resolve, reject) => {
    execFile(command, args, options, (error, stdout, stderr) => {
      if (error)
        reject(Object.assign(new Error(`${error.message}\n${stdout}\n${stderr}`), { stdout }))
      else resolve(stdout)
    })
  })
}
