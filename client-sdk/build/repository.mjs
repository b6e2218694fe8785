import { spawnSync } from 'node:child_process'
import path from 'node:path'

/**
 * The URL of the remote `origin`; undefined without one, outside of a checkout, and without git.
 *
 * @param {string} checkout
 */
export function originOf(checkout) {
  // Neither the checkout of another project around the sources counts, nor that of a hook that runs this.
  const { GIT_DIR, ...others } = process.env
  const env = { ...others, GIT_CEILING_DIRECTORIES: path.dirname(checkout) }
  const args = ['config', '--local', '--get', 'remote.origin.url']
  const { status, stdout } = spawnSync('git', args, { cwd: checkout, env, encoding: 'utf8' })
  return status === 0 ? stdout.trim() : undefined
}

/**
 * The fields of package.json that say where the sources are, and where to report bugs. Nothing of the remote but its
 * host and path is published, and nothing at all unless the host looks public.
 *
 * @param {string | undefined} remote the URL of a git remote
 * @returns {{ repository?: { type: string, url: string, directory: string }, bugs?: { url: string } }}
 */
export function repositoryFields(remote) {
  const page = pageOf(remote ?? '')
  if (!page) return {}
  const issues = /^https:\/\/([^/]+\.)?gitlab\./.test(page) ? '/-/issues' : '/issues'
  return {
    repository: { type: 'git', url: `git+${page}.git`, directory: 'client-sdk' },
    bugs: { url: page + issues },
  }
}

/** `git@host:team/name.git` */
const SCP = /^(?:[^@:/]+@)?([^@:/]+):(?!\/\/)(.+)$/
/** A name with a dot that is not an IP address. */
const HOST = /^(?:[a-z\d-]+\.)+[a-z][a-z\d-]*$/
const LOCAL_HOST = /\.(?:localhost|localdomain|local|internal|lan|home\.arpa)$/
const TEAM_AND_NAME = /^(?:\/[\w.~-]+){2,}$/

/** The repository's page; undefined if the host does not look public. */
function pageOf(remote) {
  const url = parse(remote.replace(SCP, 'ssh://$1/$2'))
  if (!url || !['https:', 'ssh:'].includes(url.protocol)) return
  const host = url.hostname.toLowerCase()
  const place = url.pathname.replace(/^\/+/, '/').replace(/(?:\.git)?\/*$/, '')
  if (!HOST.test(host) || LOCAL_HOST.test(host) || !TEAM_AND_NAME.test(place)) return
  // The port of ssh is not that of the pages.
  const port = url.protocol === 'https:' && url.port ? `:${url.port}` : ''
  return `https://${host}${port}${place}`
}

function parse(text) {
  try {
    return new URL(text)
  } catch {
    return
  }
}
