import { cp, mkdir, readFile, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import { createContext, runInContext } from 'node:vm'
import { build, type Plugin } from 'esbuild'
// @ts-expect-error: a script without types
import { buildPackage } from '../../client-sdk/build/build.mjs'

const root = path.join(import.meta.dirname, '../..')

/** An app made of the built package, as Metro bundles it. */
export interface Bundle {
  /** Minified, with everything that is imported: Metro leaves nothing out. */
  readonly bytes: number
  readonly modules: readonly string[]
  /** Runs the app. What its code exports is returned. */
  // biome-ignore lint/suspicious/noExplicitAny: what the app exports, from another realm
  run(globals?: Record<string, unknown>): any
}

/** Builds the package, and puts it into the project in this folder. */
export async function install(folder: string): Promise<void> {
  const installed = path.join(folder, 'node_modules/@tasktide/client')
  await mkdir(installed, { recursive: true })
  await cp(path.join(root, 'client-sdk/package.json'), path.join(installed, 'package.json'))
  await buildPackage(path.join(installed, 'dist'))
  const react = path.join(folder, 'node_modules/react')
  await mkdir(react)
  await writeFile(path.join(react, 'index.js'), 'exports.createContext = () => ({})')
}

/** Bundles the code of an app, which may import `@tasktide/client`. */
export async function bundle(folder: string, code: string): Promise<Bundle> {
  const { outputFiles, metafile } = await build({
    stdin: { contents: code, resolveDir: folder },
    nodePaths: [path.join(root, 'node_modules')],
    bundle: true,
    treeShaking: false,
    ignoreAnnotations: true,
    minify: true,
    write: false,
    metafile: true,
    format: 'iife',
    globalName: 'app',
    platform: 'neutral',
    target: 'es2020',
    conditions: ['react-native'],
    mainFields: ['react-native', 'browser', 'main'],
    plugins: [browserMaps],
  })
  const [{ text, contents }] = outputFiles as [(typeof outputFiles)[0]]
  return {
    bytes: contents.length,
    modules: Object.keys(metafile.inputs),
    run(globals = {}) {
      const realm = createRealm(globals)
      runInContext(text, realm)
      return runInContext('app', realm)
    },
  }
}

/** Metro replaces files by the `browser` map of their package; esbuild only does so for browsers. */
const browserMaps: Plugin = {
  name: 'browser maps',
  setup(build) {
    build.onResolve({ filter: /^\./ }, async ({ path: name, pluginData, ...from }) => {
      if (pluginData === 'browser maps') return
      const resolved = await build.resolve(name, { ...from, pluginData: 'browser maps' })
      const folder = /.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(resolved.path)?.[0]
      if (folder === undefined) return resolved
      const { browser } = JSON.parse(await readFile(path.join(folder, 'package.json'), 'utf8'))
      const mapped = Object(browser)[`./${path.relative(folder, resolved.path)}`]
      return mapped ? { ...resolved, path: path.join(folder, mapped) } : resolved
    })
  },
}

/**
 * The globals of React Native, with `crypto` as `react-native-get-random-values` brings it. Node's
 * own are not there, nor what Hermes lacks.
 */
function createRealm(globals: Record<string, unknown>) {
  const realm: Record<string, unknown> = createContext({
    console,
    fetch: fetchWithoutStreams,
    Headers,
    Request,
    Response,
    AbortController,
    FormData,
    WebSocket: createRequire(createRequire(import.meta.url).resolve('engine.io-client'))('ws'),
    XMLHttpRequest: class {},
    navigator: { product: 'ReactNative' },
    atob,
    btoa,
    queueMicrotask,
    ...TIMERS,
    crypto: { getRandomValues: crypto.getRandomValues.bind(crypto) },
    ...globals,
  })
  runInContext(`(${becomeReactNative})()`, realm)
  return realm
}

/** Runs in the realm. */
function becomeReactNative() {
  // biome-ignore lint/suspicious/noExplicitAny: names that come and go
  const here = globalThis as any
  Object.assign(here, { global: here, window: here, self: here })
  const lack = (from: object, names: string[]) => {
    for (const name of names) delete (from as Record<string, unknown>)[name]
  }
  lack(here, ['WebAssembly', 'SharedArrayBuffer', 'Atomics', 'FinalizationRegistry'])
  lack(Intl, ['ListFormat', 'Locale', 'PluralRules', 'RelativeTimeFormat', 'Segmenter'])
  lack(Array, ['fromAsync'])
  lack(Array.prototype, ['toSorted', 'toReversed', 'toSpliced'])
  lack(Object, ['groupBy'])
  lack(Promise, ['withResolvers'])
  const { resolvedOptions } = Intl.DateTimeFormat.prototype
  Intl.DateTimeFormat.prototype.resolvedOptions = function () {
    return { ...resolvedOptions.call(this), timeZone: undefined as never }
  }
}

/** Timers are numbers. */
const timers = new Map<number, NodeJS.Timeout>()
let lastTimer = 0
function timer(start: (...args: never[]) => NodeJS.Timeout) {
  return (...args: never[]) => {
    timers.set(++lastTimer, start(...args))
    return lastTimer
  }
}
function clear(id: number): void {
  clearTimeout(timers.get(id))
  timers.delete(id)
}
const TIMERS = {
  setTimeout: timer(setTimeout as never),
  setInterval: timer(setInterval as never),
  clearTimeout: clear,
  clearInterval: clear,
  requestIdleCallback: timer(((run: () => void) => setTimeout(run, 1)) as never),
  cancelIdleCallback: clear,
}

async function fetchWithoutStreams(...args: Parameters<typeof fetch>): Promise<Response> {
  const response = await fetch(...args)
  return Object.defineProperty(response, 'body', { value: undefined })
}

/** What both versions of react-native-mmkv have, over texts that outlive the app. */
const shared = (kept: Map<string, string>) => ({
  getString: (key: string) => kept.get(key),
  set: (key: string, value: string) => void kept.set(key, value),
  getAllKeys: () => [...kept.keys()],
  contains: (key: string) => kept.has(key),
})

export const MMKV_3 = (kept: Map<string, string>) => ({
  ...shared(kept),
  delete: (key: string) => void kept.delete(key),
})

export const MMKV_4 = (kept: Map<string, string>) => ({
  ...shared(kept),
  remove: (key: string) => kept.delete(key),
})
