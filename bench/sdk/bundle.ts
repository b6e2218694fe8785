import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build, type Plugin } from 'esbuild'

const root = fileURLToPath(new URL('../..', import.meta.url))
const outdir = path.join(root, 'dist/bench/sdk')

export const clientNames = ['ours', 'peer'] as const
export type ClientName = (typeof clientNames)[number]

/** The files with the code of a client, ready to run. */
export interface Bundle {
  node: string
  browser: string
}

/** Our package as it is published, and the client of rxdb-server on the RxDB that it was made for. */
export async function bundleClients(): Promise<Record<ClientName, Bundle>> {
  const { buildPackage } = await import(
    pathToFileURL(path.join(root, 'client-sdk/build/build.mjs')).href
  )
  await buildPackage(path.join(outdir, 'client'))
  return { ours: await bundleOf('ours'), peer: await bundleOf('peer') }
}

async function bundleOf(name: ClientName): Promise<Bundle> {
  const bundle = {
    node: path.join(outdir, `${name}-node.cjs`),
    browser: path.join(outdir, `${name}-browser.js`),
  }
  for (const platform of ['node', 'browser'] as const)
    await build({
      entryPoints: [path.join(root, `bench/sdk/${name}.ts`)],
      outfile: bundle[platform],
      platform,
      bundle: true,
      target: 'es2022',
      plugins: [
        ...(name === 'ours' ? [published] : [installedApart]),
        ...(platform === 'browser' ? [ownEventSource] : []),
      ],
    })
  return bundle
}

const published: Plugin = {
  name: 'the package as it is published',
  setup(build) {
    build.onResolve({ filter: /client-sdk\/\w+\.ts$/ }, ({ path: file }) => ({
      path: path.join(outdir, 'client', `${path.basename(file, '.ts')}.js`),
    }))
  },
}

const installedApart: Plugin = {
  name: 'the packages of tests/peers',
  setup(build) {
    build.onResolve({ filter: /^rx/ }, ({ path: name, importer, kind }) => {
      if (!importer.startsWith(path.join(root, 'bench'))) return undefined
      return build.resolve(name, { kind, resolveDir: path.join(root, 'tests/peers') })
    })
  },
}

/** The package that the peer has for it needs Node. */
const ownEventSource: Plugin = {
  name: 'the EventSource of browsers',
  setup(build) {
    build.onResolve({ filter: /^eventsource$/ }, ({ path }) => ({ path, namespace: 'browser' }))
    build.onLoad({ filter: /.*/, namespace: 'browser' }, () => ({
      contents: 'export default globalThis.EventSource',
    }))
  },
}
