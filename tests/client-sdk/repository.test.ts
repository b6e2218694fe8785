import { execFileSync } from 'node:child_process'
import { cp, mkdtemp, readFile, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { gunzipSync } from 'node:zlib'
import { createPackageFromTarballData } from '@arethetypeswrong/core'
import { expect, onTestFinished, test } from 'vitest'
// @ts-expect-error: a script without types
import { repositoryFields } from '../../client-sdk/build/repository.mjs'

const ROOT = path.join(import.meta.dirname, '../..')
const TOKEN = 'glpat-0123456789'

const GITHUB = 'https://github.com/team/name'
const OWN = 'https://git.example.com/team/name'

test.each([
  ['git@github.com:team/name.git', GITHUB],
  ['git@github.com:/team/name', GITHUB],
  ['github.com:team/name.git', GITHUB],
  ['ssh://git@github.com/team/name.git', GITHUB],
  ['ssh://git@git.example.com:2222/team/name.git', OWN],
  [`ssh://maria:${TOKEN}@Git.Example.com/team/name.git/`, OWN],
  ['https://github.com/team/name', GITHUB],
  ['https://github.com/team/name.git/', GITHUB],
  [`https://${TOKEN}@github.com/team/name.git`, GITHUB],
  [`https://maria:${TOKEN}@github.com/team/name.git`, GITHUB],
  [`https://git.example.com/team/name.git?private_token=${TOKEN}#${TOKEN}`, OWN],
  ['https://git.example.com:8443/team/name.git', 'https://git.example.com:8443/team/name'],
])('a client from %s names its sources', (remote, page) => {
  const fields = repositoryFields(remote)
  expect(fields).toEqual({
    repository: { type: 'git', url: `git+${page}.git`, directory: 'client-sdk' },
    bugs: { url: `${page}/issues` },
  })
  expect(JSON.stringify(fields)).not.toContain(TOKEN)
})

test.each([
  ['https://gitlab.com/team/part/name.git', 'https://gitlab.com/team/part/name'],
  ['git@gitlab.example.com:team/name.git', 'https://gitlab.example.com/team/name'],
])('GitLab has the issues of %s at a path of its own', (remote, page) => {
  expect(repositoryFields(remote).bugs).toEqual({ url: `${page}/-/issues` })
})

test.each([
  undefined,
  '',
  '/srv/git/team/name.git',
  '../team/name.git',
  './git.example.com:team/name',
  'C:/team/name.git',
  'C:\\team\\name.git',
  'file:///srv/git/team/name.git',
  'file://git.example.com/team/name.git',
  'http://localhost:3000/team/name.git',
  'https://localhost/team/name.git',
  'https://git.localhost/team/name.git',
  'https://127.0.0.1:8443/team/name.git',
  'https://[::1]/team/name.git',
  'ssh://git@127.0.0.1/team/name.git',
  'ssh://git@[::1]:22/team/name.git',
  'git@localhost:team/name.git',
  'git@10.0.0.7:team/name.git',
  'git@nas.local:team/name.git',
  'git@server:team/name.git',
  'https://github.com/name.git',
  `maria:${TOKEN}@github.com:team/name.git`,
  `ma.ria:${TOKEN}@github.com:team/name.git`,
  `https://github.com/team/name:${TOKEN}`,
  'https://github.com:port/team/name',
])('a client from %s names none', (remote) => {
  expect(repositoryFields(remote)).toEqual({})
})

test('the package of a checkout names its remote, and no credentials', async () => {
  const checkout = await temporary()
  const isSource = (file: string) => !/node_modules|[\\/]dist\b/.test(path.relative(ROOT, file))
  for (const name of ['client-sdk', 'protocol', 'package.json', 'tsconfig.json'])
    await cp(path.join(ROOT, name), path.join(checkout, name), {
      recursive: true,
      filter: isSource,
    })
  await symlink(path.join(ROOT, 'node_modules'), path.join(checkout, 'node_modules'))
  clone(checkout, `https://maria:${TOKEN}@gitlab.com/team/name.git`)
  const file = path.join(checkout, 'client.tgz')
  run(process.execPath, ['client-sdk/build/tarball.mjs', file], checkout)
  const bytes = await readFile(file)
  const packed = createPackageFromTarballData(new Uint8Array(bytes))
  const manifest = packed.readFile('/node_modules/@tasktide/client/package.json')
  expect(JSON.parse(manifest)).toMatchObject({
    name: '@tasktide/client',
    repository: {
      type: 'git',
      url: 'git+https://gitlab.com/team/name.git',
      directory: 'client-sdk',
    },
    bugs: { url: 'https://gitlab.com/team/name/-/issues' },
  })
  expect(gunzipSync(bytes).includes(TOKEN)).toBe(false)
}, 120_000)

test('sources outside of a checkout have no remote, also within another one, in its hooks, and without git', async () => {
  const other = await temporary()
  clone(other, 'git@github.com:team/other.git')
  const { PATH = '' } = process.env
  expect(originWith({ PATH }, other)).toBe('git@github.com:team/other.git')
  expect(originWith({ PATH: '' }, other)).toBe('undefined')
  const unpacked = await mkdtemp(path.join(other, 'tasktide-'))
  expect(originWith({ PATH }, unpacked)).toBe('undefined')
  expect(originWith({ PATH, GIT_DIR: path.join(other, '.git') }, unpacked)).toBe('undefined')
})

function originWith(env: NodeJS.ProcessEnv, folder: string): string {
  const script = `import { originOf } from ${JSON.stringify(path.join(ROOT, 'client-sdk/build/repository.mjs'))}
console.log(originOf(${JSON.stringify(folder)}))`
  const args = ['--input-type=module', '-e', script]
  return execFileSync(process.execPath, args, { env }).toString().trim()
}

async function temporary(): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'tasktide-repository-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

function clone(folder: string, remote: string): void {
  run('git', ['init', '--quiet'], folder)
  run('git', ['remote', 'add', 'origin', remote], folder)
}

/** Without the variables of git that a hook has, which name another repository. */
function run(command: string, args: string[], cwd: string): void {
  const { PATH, HOME } = process.env
  execFileSync(command, args, { cwd, env: { PATH, HOME } })
}
