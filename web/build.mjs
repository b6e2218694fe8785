import { createHash, randomUUID } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { brotliCompress, constants, gzip } from 'node:zlib'
import { build, context } from 'esbuild'
import { newest } from '../client-sdk/build/newest.mjs'
import { resourcesAsData } from '../client-sdk/build/resources-as-data.mjs'
import { websocketOnly } from '../client-sdk/build/websocket-only.mjs'

const root = path.dirname(import.meta.dirname)
const inWeb = (file) => path.join(import.meta.dirname, file)

/** The folder that the server serves. */
const OUTDIR = path.join(root, 'dist/web')

/** The inputs of the build: a change makes the output stale. */
const SOURCES = ['web', 'client-sdk', 'protocol'].map((one) => path.join(root, one))

/** Builds the web app unless the output is newer than all inputs. */
export async function ensureWebApp(outdir = OUTDIR) {
  // Written last; a quick build does not write it.
  const last = path.join(outdir, 'index.html.gz')
  const built = statSync(last, { throwIfNoEntry: false })?.mtimeMs ?? 0
  if (SOURCES.every((folder) => newest(folder) < built)) return
  await buildWebApp(outdir)
}

/**
 * Builds the files and their compressed forms.
 *
 * @param {string} outdir
 * @param {{quick?: boolean}} options quick: neither minified nor compressed, for development
 */
export async function buildWebApp(outdir = OUTDIR, { quick = false } = {}) {
  const { outputFiles } = await build(appBundle(quick))
  await writeWebApp(outputFiles, outdir, quick)
}

/**
 * Builds it quickly, now and after every change.
 *
 * @param {() => void} built called after each build
 * @returns what `dispose` ends
 */
export async function watchWebApp(built, outdir = OUTDIR) {
  const bundle = appBundle(true)
  const written = {
    name: 'written',
    setup(build) {
      // What is not imported, and belongs to it.
      const watchFiles = ['sw.ts', 'index.html', 'manifest.webmanifest'].map(inWeb)
      const watchDirs = [inWeb('icons')]
      build.onResolve({ filter: /main\.tsx$/ }, ({ path: file }) => ({
        path: file,
        watchFiles,
        watchDirs,
      }))
      build.onEnd(async ({ errors, outputFiles }) => {
        if (errors.length > 0) return // esbuild has said which
        await writeWebApp(outputFiles, outdir, true)
        built()
      })
    },
  }
  const watch = await context({ ...bundle, plugins: [...bundle.plugins, written] })
  await watch.watch()
  return watch
}

/**
 * Files with a hash come first and the page last, so that somebody who reads meanwhile finds whatever
 * the page names.
 */
async function writeWebApp(outputFiles, outdir, quick) {
  const bundled = outputFiles.map(({ path: file, contents }) => [path.basename(file), contents])
  const files = new Map([...readIcons(), ...bundled])
  const names = [...files.keys()]
  const page = (file) => Buffer.from(withHashes(readFileSync(inWeb(file), 'utf8'), names))
  const [manifest, index] = [page('manifest.webmanifest'), page('index.html')]
  const version = hashOf(Buffer.concat([manifest, index]))
  files.set('sw.js', await bundleWorker(names, version, quick))
  files.set('manifest.webmanifest', manifest)
  files.set('index.html', index)
  await mkdir(outdir, { recursive: true })
  const written = new Set()
  for (const [name, bytes] of files)
    for (const [ending, form] of await formsOf(name, bytes, quick)) {
      await writeWhole(path.join(outdir, name + ending), form)
      written.add(name + ending)
    }
  await removeOthers(outdir, written)
}

/** Removes files of earlier builds. A draft belongs to another running build. */
async function removeOthers(outdir, written) {
  for (const name of await readdir(outdir))
    if (!written.has(name) && !name.endsWith('.draft'))
      await rm(path.join(outdir, name), { force: true })
}

const appBundle = (quick) => ({
  entryPoints: { app: inWeb('main.tsx') },
  ...settings(quick),
  entryNames: '[name]-[hash]',
  assetNames: '[name]-[hash]',
  loader: { '.svg': 'file' },
  jsx: 'automatic',
  jsxImportSource: 'preact',
  alias: { react: inWeb('react.ts') },
  plugins: [resourcesAsData, websocketOnly],
})

async function bundleWorker(names, version, quick) {
  const { outputFiles } = await build({
    entryPoints: { sw: inWeb('sw.ts') },
    ...settings(quick),
    define: {
      SHELL: JSON.stringify(['/', '/manifest.webmanifest', ...names.map((name) => `/${name}`)]),
      VERSION: JSON.stringify(version),
    },
  })
  return outputFiles[0].contents
}

const settings = (quick) => ({
  bundle: true,
  write: false,
  outdir: OUTDIR,
  format: 'esm',
  target: ['es2022', 'chrome109', 'firefox115', 'safari16.4'],
  conditions: ['module', 'es2015'], // RxJS is smaller with classes than in ES5
  minify: !quick,
  legalComments: 'none',
})

function readIcons() {
  return readdirSync(inWeb('icons')).map((file) => {
    const bytes = readFileSync(path.join(inWeb('icons'), file))
    const { name, ext } = path.parse(file)
    return [`${name}-${hashOf(bytes)}${ext}`, bytes]
  })
}

/** Replaces placeholders such as `{{app.js}}` by the built file names. */
function withHashes(text, names) {
  return text.replaceAll(/\{\{(.+?)\}\}/g, (_, wanted) => {
    const name = names.find((one) => one.replace(/-[0-9A-Z]{8}\./, '.') === wanted)
    if (!name) throw new Error(`The page refers to ${wanted}, which is not built.`)
    return `/${name}`
  })
}

/** A hash in the format of esbuild's. */
const hashOf = (bytes) => createHash('sha256').update(bytes).digest('hex').slice(0, 8).toUpperCase()

async function formsOf(name, bytes, quick) {
  if (quick || name.endsWith('.png')) return [['', bytes]]
  const params = { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY }
  return [
    ['', bytes],
    ['.br', await promisify(brotliCompress)(bytes, { params })],
    ['.gz', await promisify(gzip)(bytes, { level: 9 })],
  ]
}

/** Writes atomically, also when two builds run at the same time. */
async function writeWhole(file, bytes) {
  const draft = `${file}.${randomUUID()}.draft`
  await writeFile(draft, bytes)
  await rename(draft, file)
}

if (process.argv[1] === import.meta.filename) await buildWebApp()
