import path from 'node:path'
import { compileFunction } from 'node:vm'
import { build, type Plugin } from 'esbuild'
// @ts-expect-error: the build scripts have no types
import { resourcesAsData } from '../../../client-sdk/build/resources-as-data.mjs'
import type * as Entry from './entry.ts'
import type { Globals } from './realm.ts'

export type Sdk = typeof Entry

/** Loads the SDK again with its own module state and globals, like a new tab. */
export type OpenSdk = (globals: Globals) => Sdk

/** The globals of a tab, which replace those of Node. */
const NAMES = [
  'setTimeout',
  'clearTimeout',
  'setInterval',
  'clearInterval',
  'Date',
  'Math',
  'crypto',
  'performance',
  'fetch',
  'navigator',
  'document',
  'BroadcastChannel',
] as const

/**
 * Bundles the SDK with RxDB, like an app does. Each call of the result runs all modules again, so tabs share
 * nothing except the disk.
 */
export async function bundleSdk(): Promise<OpenSdk> {
  const { outputFiles } = await build({
    entryPoints: [path.join(import.meta.dirname, 'entry.ts')],
    bundle: true,
    write: false,
    format: 'cjs',
    platform: 'browser',
    target: 'es2022',
    logLevel: 'error',
    plugins: [resourcesAsData, socketsOfTheSimulation],
  })
  const parameters = ['module', 'globalThis', 'window', 'self', ...NAMES]
  const run = compileFunction(outputFiles[0]!.text, parameters, {
    filename: 'client-sdk.bundle.js',
  })
  return (globals) => {
    const module = { exports: {} as Sdk }
    run(module, globals, globals, globals, ...NAMES.map((name) => globals[name]))
    return module.exports
  }
}

/** Replaces Socket.IO's client, so that the SDK's own code of the live connection is tested. */
const socketsOfTheSimulation: Plugin = {
  name: 'sockets of the simulation',
  setup(build) {
    build.onResolve({ filter: /^socket\.io-client$/ }, () => ({
      path: 'sockets',
      namespace: 'sim',
    }))
    build.onLoad({ filter: /.*/, namespace: 'sim' }, () => ({
      contents: 'export const io = (url, options) => globalThis.openSocket(options)',
    }))
  },
}
