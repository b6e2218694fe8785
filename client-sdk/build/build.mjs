import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { build } from 'esbuild'
import { importTypeScript, resourcesAsData } from './resources-as-data.mjs'
import { websocketOnly } from './websocket-only.mjs'

/**
 * Builds `dist/`: the modules with the protocol bundled in, and their types. Resources are included as
 * data, evaluated from their definitions at build time, so that neither validators nor their types are
 * in an app.
 *
 * @param {string} outdir
 */
export async function buildPackage(outdir) {
  const draft = mkdtempSync(path.join(tmpdir(), 'tasktide-client-'))
  try {
    rmSync(outdir, { recursive: true, force: true })
    await writeModules(outdir)
    const { kindTypes } = await importTypeScript('kind-types')
    const { resources } = await importTypeScript('resources')
    writeTypes(outdir, draft, documentTypes(resources, kindTypes))
  } finally {
    rmSync(draft, { recursive: true, force: true })
  }
}

const sources = path.dirname(import.meta.dirname)
const root = path.dirname(sources)

/** The entry points, as in package.json. */
const ENTRIES = ['index', 'dexie', 'key-value', 'sqlite', 'react', 'testing']
/** The entry point with RxDB, RxJS and Socket.IO built in. */
const REACT_NATIVE = 'react-native'

async function writeModules(outdir) {
  await build({
    entryPoints: ENTRIES.map((name) => path.join(sources, `${name}.ts`)),
    bundle: true,
    splitting: true,
    format: 'esm',
    target: 'es2022',
    outdir,
    external: ['rxdb', 'rxjs', 'socket.io-client', 'react'],
    plugins: [resourcesAsData],
  })
  const { metafile } = await build({
    entryPoints: [path.join(sources, `${REACT_NATIVE}.ts`)],
    bundle: true,
    metafile: true,
    format: 'esm',
    target: 'es2020',
    conditions: ['module', 'es2015'], // RxJS is smaller with classes than in ES5
    outdir,
    external: ['react'],
    plugins: [resourcesAsData, websocketOnly],
  })
  writeFileSync(path.join(outdir, `${REACT_NATIVE}.LICENSES.txt`), licencesOf(metafile))
}

/** The licences of the bundled packages. */
function licencesOf({ outputs }) {
  const used = Object.values(outputs).flatMap(({ inputs }) =>
    Object.entries(inputs).filter(([, { bytesInOutput }]) => bytesInOutput > 0),
  )
  const folders = used.flatMap(
    ([file]) => /.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0] ?? [],
  )
  return [...new Set(folders)].sort().map(licenceOf).join('\n\n')
}

function licenceOf(folder) {
  const { name, version, license } = JSON.parse(readFileSync(path.join(folder, 'package.json')))
  const file = readdirSync(folder).find((name) => /^licen[cs]e/i.test(name))
  const text = file ? readFileSync(path.join(folder, file), 'utf8') : license
  return `${name} ${version}\n\n${text}`
}

function writeTypes(outdir, draft, types) {
  const tsc = path.join(root, 'node_modules/typescript/bin/tsc')
  const project = path.join(sources, 'tsconfig.json')
  const flags = ['--noEmit', 'false', '--declaration', '--emitDeclarationOnly', '--outDir', draft]
  execFileSync(process.execPath, [tsc, '-p', project, ...flags], { stdio: 'inherit' })
  const declarations = path.join(draft, 'client-sdk')
  writeFileSync(path.join(declarations, 'local/documents.d.ts'), types)
  for (const name of reachable(declarations, [...ENTRIES, REACT_NATIVE])) {
    const text = readFileSync(path.join(declarations, `${name}.d.ts`), 'utf8')
    const file = path.join(outdir, `${name}.d.ts`)
    mkdirSync(path.dirname(file), { recursive: true })
    writeFileSync(file, text.replaceAll(REFERENCE, "from '$1.js'"))
  }
}

const REFERENCE = /from '(\.\.?\/.*)\.ts'/g

/** The declarations that these declarations import. */
function reachable(folder, names, found = new Set()) {
  for (const name of names) {
    if (found.has(name)) continue
    if (name.startsWith('..'))
      throw new Error(`A published type is defined outside of the SDK: ${name}`)
    found.add(name)
    const text = readFileSync(path.join(folder, `${name}.d.ts`), 'utf8')
    const referred = [...text.matchAll(REFERENCE)].map(([, other]) =>
      path.posix.join(path.posix.dirname(name), other),
    )
    reachable(folder, referred, found)
  }
  return found
}

/** @returns the types of the documents, as TypeScript: what `local/documents.ts` derives with zod */
function documentTypes(resources, kindTypes) {
  const all = Object.entries(resources)
  const byName = (typeOf) => all.map(([name, one]) => `  ${name}: ${typeOf(one)}\n`).join('')
  return `${all.map(([, one]) => documentType(one, kindTypes)).join('\n')}
export interface Documents {\n${byName(typeName)}}
export interface NewDocuments {\n${byName(newDocumentType)}}
export type ResourceName = keyof Documents
`
}

function documentType(resource, kindTypes) {
  const members = Object.entries(resource.fields).map(([field, { kind, nullable, values }]) => {
    const type = values?.map((value) => `'${value}'`).join(' | ') ?? kindTypes[kind]
    return `  ${field}: ${type}${nullable ? ' | null' : ''}\n`
  })
  const stamps = '  created_at: string\n  updated_at: string\n'
  return `export interface ${typeName(resource)} {\n  id: string\n${members.join('')}${stamps}}\n`
}

function newDocumentType(resource) {
  const required = resource.required.map((name) => `'${name}'`).join(' | ') || 'never'
  const name = typeName(resource)
  return `Partial<${name}> & Pick<${name}, ${required}>`
}

/** `day plan` becomes `DayPlan`. */
function typeName({ singular }) {
  return singular.replaceAll(/(?:^|\W)(\w)/g, (_, letter) => letter.toUpperCase())
}

if (process.argv[1] === import.meta.filename) await buildPackage(path.join(sources, 'dist'))
