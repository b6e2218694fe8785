import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect } from 'vitest'
import { findProgram, freePort, isInstalled, runProgram } from './programs.ts'

const MISSING =
  'No nginx for the stories with it: apt-get install nginx-light (macOS: brew install nginx).'

/** Whether there is an nginx on this machine. Without one, warns; in CI throws. */
export const hasNginx = (): boolean => isInstalled(findProgram('nginx'), MISSING)

export interface Nginx {
  url: string
  close(): Promise<void>
}

/** nginx with the nginx.conf of this repository, in front of two nodes on this machine. */
export async function startNginx(ports: readonly [number, number]): Promise<Nginx> {
  const folder = mkdtempSync(path.join(tmpdir(), 'tasktide-nginx-'))
  const port = await freePort()
  let site = readFileSync(new URL('../../nginx.conf', import.meta.url), 'utf8')
  const replacements = [
    ['web-1:3000', `127.0.0.1:${ports[0]}`],
    ['web-2:3000', `127.0.0.1:${ports[1]}`],
    ['listen 80;', `listen 127.0.0.1:${port};`],
  ] as const
  for (const [from, to] of replacements) {
    expect(site).toContain(from)
    site = site.replace(from, to)
  }
  const kinds = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  for (const kind of kinds) mkdirSync(path.join(folder, kind))
  const file = path.join(folder, 'nginx.conf')
  writeFileSync(
    file,
    `daemon off;
master_process off;
pid ${folder}/pid;
error_log stderr notice;
events { worker_connections 1024; }
http {
  access_log off;
  # The site has to say otherwise.
  gzip on;
  gzip_types *;
  gzip_proxied any;
  gzip_min_length 0;
${kinds.map((kind) => `  ${kind}_temp_path ${folder}/${kind};`).join('\n')}
${site}
}
`,
  )
  const server = await runProgram(
    findProgram('nginx')!,
    ['-p', folder, '-c', file, '-e', 'stderr'],
    'getrlimit(RLIMIT_NOFILE)',
  )
  return {
    url: `http://127.0.0.1:${port}`,
    async close() {
      await server.kill()
      rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}
