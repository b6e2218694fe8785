import { spawnSync } from 'node:child_process'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { buildPackage } from './build.mjs'
import { newest } from './newest.mjs'
import { originOf, repositoryFields } from './repository.mjs'

const sources = path.dirname(import.meta.dirname)
const root = path.dirname(sources)

/** What the server serves as `/client.tgz`. */
const TARBALL = path.join(root, 'dist/client/client.tgz')

/** Packs the client unless the tarball is newer than what it is made of. */
export async function ensureTarball(file = TARBALL) {
  const packed = statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0
  const folders = [sources, path.join(root, 'protocol')]
  if (folders.some((folder) => newest(folder) >= packed)) await writeTarball(file)
}

/**
 * Builds and packs the client as npm would publish it, to the same bytes each time. Its package.json gets `repository` and
 * `bugs` from the checkout's remote, unless it has them already.
 *
 * @param {string} file
 */
async function writeTarball(file) {
  const folder = mkdtempSync(path.join(tmpdir(), 'tasktide-tarball-'))
  try {
    await buildPackage(path.join(folder, 'dist'))
    for (const name of ['README.md', 'LICENSE'])
      cpSync(path.join(sources, name), path.join(folder, name))
    const { scripts, ...manifest } = JSON.parse(
      readFileSync(path.join(sources, 'package.json'), 'utf8'),
    )
    const named = { ...repositoryFields(originOf(root)), ...manifest }
    writeFileSync(path.join(folder, 'package.json'), JSON.stringify(named, null, 2))
    const { status, stdout, stderr } = spawnSync('npm pack --silent', {
      cwd: folder,
      shell: true,
      encoding: 'utf8',
    })
    if (status !== 0) throw new Error(`npm pack failed: ${stderr}`)
    mkdirSync(path.dirname(file), { recursive: true })
    // Whole, also for a server that starts meanwhile.
    const draft = `${file}.${process.pid}.draft`
    cpSync(path.join(folder, stdout.trim().split('\n').at(-1)), draft)
    renameSync(draft, file)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

if (process.argv[1] === import.meta.filename) await writeTarball(process.argv[2] ?? TARBALL)
