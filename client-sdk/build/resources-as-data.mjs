import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from 'esbuild'

/**
 * An esbuild plugin that replaces the protocol's definitions (resources, shapes of answers) by the data that a
 * device needs, evaluated at build time, so that no validator is in the bundle.
 */
export const resourcesAsData = {
  name: 'resources as data',
  setup(build) {
    build.onLoad({ filter: /client-sdk[\\/]local[\\/]resources\.ts$/ }, async () => {
      const { resources, watchFiles } = await loadResources()
      return {
        contents: `export const resources = ${JSON.stringify(resources)}
for (const one of Object.values(resources)) one.fieldNames = Object.keys(one.fields)`,
        watchFiles,
      }
    })
    build.onLoad({ filter: /client-sdk[\\/]local[\\/]shapes\.ts$/ }, async () => {
      const { exports, watchFiles } = await load('shapes')
      return { contents: `export const shapes = ${JSON.stringify(exports.shapes)}`, watchFiles }
    })
  },
}

/** @returns what a module of `local/` exports */
export const importTypeScript = async (name) => (await load(name)).exports

/** @returns the resources by name, as plain data, and the files that define them */
async function loadResources() {
  const { exports, watchFiles } = await load('resources')
  const resources = mapValues(exports.resources, (resource) => ({
    ...pick(resource, ['name', 'version', 'revision', 'required', 'initial', 'blank']),
    ...pick(resource, ['stamps', 'readOnly', 'singleton']),
    fields: mapValues(pick(resource.fields, resource.fieldNames), (field) =>
      pick(field, ['kind', 'nullable', 'values', 'min', 'max', 'maxLength', 'form']),
    ),
  }))
  return { resources, watchFiles }
}

/** @returns what a module of `local/` exports, and the files that it is made of */
async function load(name) {
  const draft = mkdtempSync(path.join(tmpdir(), 'tasktide-module-'))
  try {
    const entryPoints = [path.join(import.meta.dirname, `../local/${name}.ts`)]
    const outfile = path.join(draft, `${name}.mjs`)
    const options = { bundle: true, format: 'esm', platform: 'node', metafile: true }
    const { metafile } = await build({ entryPoints, outfile, ...options })
    return {
      exports: await import(pathToFileURL(outfile).href),
      watchFiles: Object.keys(metafile.inputs)
        .filter((file) => !file.includes('node_modules'))
        .map((file) => path.resolve(file)),
    }
  } finally {
    rmSync(draft, { recursive: true, force: true })
  }
}

function mapValues(object, convert) {
  return Object.fromEntries(Object.entries(object).map(([name, value]) => [name, convert(value)]))
}

/** Omits false values, which would be half of the data. */
function pick(from, names) {
  const kept = names.filter((name) => name in from && from[name] !== false)
  return Object.fromEntries(kept.map((name) => [name, from[name]]))
}
