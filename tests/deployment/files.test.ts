import { accessSync, constants, existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { Ajv2019 } from 'ajv/dist/2019.js'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { MAX_PUSH_BYTES } from '../../protocol/replication.ts'
import { environment, readConfig } from '../../server/runtime/config.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { parseDockerfile } from './dockerfile.ts'

const root = path.join(import.meta.dirname, '../..')
const GENERATED = 'f3a91c07be52d8846a0e7b19c5d2f48360ab9e7d1c54820f'
const SCRIPTS = readdirSync(path.join(root, 'scripts')).map((file) => `node scripts/${file}`)
const NAMES = Object.keys(environment.shape)

const text = (file: string) => readFileSync(path.join(root, file), 'utf8')
const yaml = (file: string) => parse(text(file), { merge: true })
const stages = parseDockerfile(text('Dockerfile'))

describe('Procfile', () => {
  test('has every process, and one that migrates before each release', () => {
    const processes = Object.fromEntries(
      text('Procfile')
        .trim()
        .split('\n')
        .map((line) => line.split(': ') as [string, string]),
    )
    expect(Object.keys(processes)).toEqual(['web', 'worker', 'release'])
    expect(Object.values(processes).filter((command) => !SCRIPTS.includes(command))).toEqual([])
  })
})

describe('compose.yaml', () => {
  const compose: Compose = yaml('compose.yaml')
  const ours = Object.entries(compose.services).filter(([, { build }]) => build === '.')

  test('is valid by the schema of the Compose Specification', () => {
    const schema = JSON.parse(text('tests/deployment/schemas/compose-spec.json'))
    const ajv = new Ajv2019({
      strict: false,
      formats: {
        duration: /^(\d+(\.\d+)?(us|ms|s|m|h))+$/,
        expose: true,
        ports: true,
        subnet_ip_address: true,
      },
    })
    ajv.addMetaSchema({ $id: 'http://json-schema.org/draft/2019-09/schema' })
    const validate = ajv.compile(schema)
    validate(compose)
    expect(validate.errors).toBeNull()
    expect(validate({ services: { web: { imag: 'a' } } })).toBe(false)
  })

  test('refers only to what it has', () => {
    const volumes = Object.values(compose.services).flatMap(({ volumes = [] }) => volumes)
    for (const volume of volumes) {
      const [source = ''] = volume.split(':')
      if (source.startsWith('.')) expect(existsSync(path.join(root, source)), source).toBe(true)
      else expect(Object.keys(compose.volumes)).toContain(source)
    }
    for (const { depends_on = {} } of Object.values(compose.services))
      for (const [name, { condition }] of Object.entries(depends_on)) {
        const service = compose.services[name]
        expect(service, name).toBeDefined()
        if (condition === 'service_healthy')
          expect(service!.healthcheck ?? service!.build, name).toBeDefined()
      }
  })

  test('serves from two nodes, migrates once before they start, and works in a process of its own', () => {
    const command = (name: string) => compose.services[name]!.command?.join(' ')
    expect(ours.map(([name]) => name)).toEqual(['web-1', 'web-2', 'worker', 'migrate'])
    expect([command('web-1'), command('web-2')]).toEqual([undefined, undefined])
    for (const name of ['worker', 'migrate']) expect(SCRIPTS).toContain(command(name))
    for (const name of ['web-1', 'web-2', 'worker'])
      expect(compose.services[name]!.depends_on!.migrate!.condition).toBe(
        'service_completed_successfully',
      )
  })

  test.each(ours)(
    'gives %s an environment that it can start with, as it is and as it may be set',
    (_, service) => {
      const settings: Record<string, string>[] = [
        { SECRET_KEY: GENERATED },
        { SECRET_KEY: GENERATED, PUBLIC_URL: 'https://tasks.example.com' },
      ]
      for (const given of settings) {
        const env = Object.fromEntries(
          Object.entries(service.environment!).map(([name, value]) => [name, filled(value, given)]),
        )
        expect(Object.keys(env).filter((name) => !NAMES.includes(name))).toEqual([])
        const config = readConfig({ ...env, NODE_ENV: 'production' })
        expect(config).toMatchObject({ runWorker: false, migrateOnStart: false, ...given })
        const database = new URL(config.DATABASE_URL!)
        const { POSTGRES_USER, POSTGRES_DB } = compose.services.postgres!.environment!
        expect([database.hostname, database.username, database.pathname]).toEqual([
          'postgres',
          POSTGRES_USER,
          `/${POSTGRES_DB}`,
        ])
        expect(compose.services).toHaveProperty(new URL(config.SMTP_URL!).hostname)
      }
    },
  )

  test('has no key of its own', () => {
    for (const [, { environment = {} }] of ours) {
      expect(filled(environment.SECRET_KEY!, {})).toBe('')
      expect(environment.SECRET_KEY).toMatch(/^\$\{SECRET_KEY:\?.*compose\.yaml\}$/)
    }
  })

  test('publishes nothing to other machines, as it is', () => {
    const ports = Object.values(compose.services).flatMap(({ ports = [] }) => ports)
    expect(ports.filter((port) => !port.startsWith('127.0.0.1:'))).toEqual([])
    expect(ports.map((port) => `http://localhost:${port.split(':')[1]}`)).toContain(
      readConfig({ PUBLIC_URL: filled(ours[0]![1].environment!.PUBLIC_URL!, {}) }).PUBLIC_URL,
    )
  })

  test('has a proxy that sends requests to every node, at the port that it listens at', () => {
    const upstreams = /^reverse_proxy (.+) \{$/m.exec(text('Caddyfile'))![1]!.split(' ')
    const port = stages.at(-1)!.steps.find(({ instruction }) => instruction === 'EXPOSE')!.text
    expect(upstreams).toEqual(['web-1', 'web-2'].map((name) => `${name}:${port}`))
    expect(String(readConfig({}).PORT)).toBe(port)
  })
})

describe('nginx.conf', () => {
  test('sends requests to the port that nodes listen at, and lets every push through', () => {
    const conf = text('nginx.conf')
    const ports = [...conf.matchAll(/^\tserver \S+:(\d+) /gm)].map(([, port]) => port)
    expect(ports).toEqual([String(readConfig({}).PORT), String(readConfig({}).PORT)])
    const megabytes = Number(/client_max_body_size (\d+)m;/.exec(conf)![1])
    expect(megabytes * 1024 * 1024).toBeGreaterThan(MAX_PUSH_BYTES)
  })
})

describe('render.yaml', () => {
  const blueprint: Blueprint = yaml('render.yaml')
  const sources = {
    generated: GENERATED,
    database: 'postgres://user:password@host/tasktide',
    asked: {
      PUBLIC_URL: 'https://tasks.example.com',
      SMTP_URL: 'smtp://mail',
      MAIL_FROM: 'a@b.example',
    },
  }

  test.each(blueprint.services.map((service) => [service.name, service] as const))(
    'gives %s an environment that it can start with, whether what is asked for is said or not',
    (_, service) => {
      for (const asked of [sources.asked, {}]) {
        const env = Object.fromEntries(service.envVars.flatMap((one) => valuesOf(one, asked)))
        expect(Object.keys(env).filter((name) => !NAMES.includes(name))).toEqual([])
        const config = readConfig({ ...env, NODE_ENV: 'production' })
        expect(config).toMatchObject({
          DATABASE_URL: sources.database,
          SECRET_KEY: GENERATED,
          ...asked,
        })
      }
    },
  )

  test('runs scripts that are there, in an image that is made from our Dockerfile', () => {
    const commands = blueprint.services.flatMap(({ dockerCommand, preDeployCommand }) => [
      ...(dockerCommand ? [dockerCommand] : []),
      ...(preDeployCommand ? [preDeployCommand] : []),
    ])
    expect(commands).toEqual(['node scripts/migrate.mjs', 'node scripts/worker.mjs'])
    expect(commands.filter((command) => !SCRIPTS.includes(command))).toEqual([])
    expect(blueprint.services.map(({ runtime }) => runtime)).toEqual(['docker', 'docker'])
  })

  function valuesOf(one: EnvVar, asked: Record<string, string>): [string, string][] {
    if (one.fromGroup !== undefined) {
      const group = blueprint.envVarGroups.find(({ name }) => name === one.fromGroup)!
      return group.envVars.flatMap((each) => valuesOf(each, asked))
    }
    if (one.fromDatabase) {
      expect(blueprint.databases.map(({ name }) => name)).toContain(one.fromDatabase.name)
      return [[one.key!, sources.database]]
    }
    if (one.fromService) {
      const { name, type, envVarKey } = one.fromService
      const service = blueprint.services.find((each) => each.name === name && each.type === type)!
      return valuesOf(service.envVars.find(({ key }) => key === envVarKey)!, asked)
    }
    if (one.generateValue) return [[one.key!, sources.generated]]
    return [[one.key!, one.sync === false ? (asked[one.key!] ?? '') : one.value!]]
  }
})

describe('app.json', () => {
  const app: HerokuApp = JSON.parse(text('app.json'))

  test('gives the app an environment that it can start with', () => {
    const env = Object.fromEntries(
      Object.entries(app.env).map(([name, { value, generator }]) => [
        name,
        generator === 'secret' ? GENERATED : (value ?? ''),
      ]),
    )
    expect(Object.keys(env).filter((name) => !NAMES.includes(name))).toEqual([])
    const config = readConfig({ ...env, DATABASE_URL: 'postgres://user:password@host/db' })
    expect(config).toMatchObject({ isProduction: true, DATABASE_TLS: 'require', TRUST_PROXY: 1 })
    // What has no value is asked for, and may be left empty only if that is said.
    const empty = Object.entries(app.env).filter(([, one]) => !one.value && !one.generator)
    expect(empty.filter(([, { required }]) => required !== false)).toEqual([])
  })

  test('has a database, and a dyno for each process of the Procfile', () => {
    expect(app.addons).toEqual([expect.stringMatching(/^heroku-postgresql:/)])
    for (const name of Object.keys(app.formation))
      expect(text('Procfile')).toMatch(new RegExp(`^${name}: `, 'm'))
  })
})

describe('the workflow', () => {
  const workflow: Workflow = yaml('.github/workflows/ci.yml')
  const steps = Object.values(workflow.jobs).flatMap(({ steps }) => steps)

  test('runs all checks on Node 20 and 24, which is what package.json promises', () => {
    expect(workflow.jobs.checks!.strategy!.matrix.node).toEqual([20, 24])
    expect(JSON.parse(text('package.json')).engines.node).toMatch(/^>=20\./)
    expect(steps.map(({ run }) => run)).toEqual(
      expect.arrayContaining(['sudo .ci/servers', '.ci/run']),
    )
    for (const file of ['.ci/servers', '.ci/run']) accessSync(path.join(root, file), constants.X_OK)
  })

  test('names every action by its commit, and may only read', () => {
    const uses = text('.github/workflows/ci.yml').match(/uses: .*/g)!
    expect(uses.length).toBeGreaterThan(0)
    for (const line of uses) expect(line).toMatch(/^uses: [\w-]+\/[\w-]+@[\da-f]{40} # v\d/)
    expect(workflow.permissions).toEqual({ contents: 'read' })
  })
})

describe('health checks', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startServer()
  })
  afterAll(() => server.stop())

  test.each([
    ['Dockerfile', /127\.0\.0\.1:\$\{process\.env\.PORT \|\| 3000\}(\/\w+)/],
    ['Caddyfile', /health_uri (\S+)/],
    ['render.yaml', /healthCheckPath: (\S+)/],
    ['.github/workflows/ci.yml', /localhost:8080(\/\w+)/],
  ])('in %s ask for something that is there', async (file, pattern) => {
    const [, target] = pattern.exec(text(file))!
    expect(await server.call('GET', target!)).toMatchObject({ status: 200 })
  })
})

/** A value after Compose has put in what the environment says: `${NAME:-otherwise}`, `${NAME:?required}`. */
function filled(value: string, given: Record<string, string>): string {
  return value.replaceAll(
    /\$\{(\w+):([-?])((?:[^{}])*)\}/g,
    (_, name: string, kind: string, otherwise: string) =>
      given[name] || (kind === '-' ? otherwise : ''),
  )
}

interface Compose {
  services: Record<
    string,
    {
      build?: string
      command?: string[]
      environment?: Record<string, string>
      healthcheck?: object
      depends_on?: Record<string, { condition: string }>
      ports?: string[]
      volumes?: string[]
    }
  >
  volumes: Record<string, null>
}

interface EnvVar {
  key?: string
  value?: string
  sync?: boolean
  generateValue?: boolean
  fromGroup?: string
  fromDatabase?: { name: string }
  fromService?: { name: string; type: string; envVarKey: string }
}

interface Blueprint {
  services: {
    name: string
    type: string
    runtime: string
    dockerCommand?: string
    preDeployCommand?: string
    envVars: EnvVar[]
  }[]
  envVarGroups: { name: string; envVars: EnvVar[] }[]
  databases: { name: string }[]
}

interface HerokuApp {
  env: Record<string, { value?: string; generator?: string; required?: boolean }>
  addons: string[]
  formation: Record<string, object>
}

interface Workflow {
  permissions: Record<string, string>
  jobs: Record<string, { steps: { run?: string }[]; strategy?: { matrix: { node: number[] } } }>
}
