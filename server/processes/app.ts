import express, { type Express } from 'express'
import { type Resource, resources } from '../../protocol/index.ts'
import type { Administration } from '../accounts/administration.ts'
import { createAudit } from '../accounts/audit.ts'
import { backgroundBcrypt } from '../accounts/background-bcrypt.ts'
import { createBasicSignIn } from '../accounts/basic-sign-in.ts'
import { createPasswords, type Passwords } from '../accounts/passwords.ts'
import { may } from '../accounts/permissions.ts'
import type { Secrets } from '../accounts/secrets.ts'
import { createAccountServices } from '../accounts/services.ts'
import type { Sessions } from '../accounts/sessions.ts'
import { confirmationRules } from '../accounts/unconfirmed.ts'
import type { Database } from '../database/connect.ts'
import { poolState } from '../database/pool.ts'
import type { Replica } from '../database/replica.ts'
import {
  watchBytes,
  watchHints,
  watchJobs,
  watchPool,
  watchReadiness,
  watchReplica,
} from '../health/gauges.ts'
import type { Readiness } from '../health/readiness.ts'
import { aboutOperations } from '../http/about/about.ts'
import { metricsOperation } from '../http/about/metrics.ts'
import { resourceSchemaOperations } from '../http/about/resource-schemas.ts'
import { securityTxtOperation } from '../http/about/security-txt.ts'
import { swaggerUi } from '../http/about/swagger-ui.ts'
import { usualPlaces } from '../http/about/usual-places.ts'
import { webApp } from '../http/about/web-app.ts'
import { accountLifeOperations } from '../http/accounts/account-life.ts'
import { accountOperations } from '../http/accounts/accounts.ts'
import { administrationOperations } from '../http/accounts/administration.ts'
import { accountEventOperations } from '../http/accounts/events.ts'
import { accountExportOperations } from '../http/accounts/export.ts'
import { factorOperations } from '../http/accounts/factors.ts'
import { personalTokenOperations } from '../http/accounts/personal-tokens.ts'
import { relyingParty } from '../http/accounts/relying-party.ts'
import { accountSessionOperations } from '../http/accounts/sessions.ts'
import { unsubscribeOperations } from '../http/accounts/unsubscribe.ts'
import { attemptLimit } from '../http/attempt-limit.ts'
import { createCompression } from '../http/compression.ts'
import { inCouch } from '../http/couch/dialect.ts'
import { createFeeds, type Feeds } from '../http/couch/feeds.ts'
import { couchOperations } from '../http/couch/operations.ts'
import { createParts } from '../http/couch/parts.ts'
import { couchAuthentication, personalDatabases } from '../http/couch/personal.ts'
import { ANYBODY, testDatabases } from '../http/couch/test-mode.ts'
import { refuseQueries, unknownInCouch } from '../http/couch/unknown.ts'
import { batchOperation } from '../http/documents/batch.ts'
import { conflictOperations } from '../http/documents/conflicts.ts'
import { explainOperation } from '../http/documents/explain.ts'
import { restOperations } from '../http/documents/rest.ts'
import { bearerToken, type MountDependencies, mount } from '../http/mount.ts'
import { createOpenAnswers, type OpenAnswers } from '../http/open-answers.ts'
import type { Operation } from '../http/operation.ts'
import { originOf } from '../http/origin.ts'
import { createDoor, type Door, refuseOverload } from '../http/overload.ts'
import { answerProblems, notFound, speaking } from '../http/problems.ts'
import { type Changes, createChanges } from '../http/replication/changes.ts'
import { createLongPages } from '../http/replication/long-pages.ts'
import { createPullStreams, type PullStreams } from '../http/replication/pull-streams.ts'
import { replicationOperations } from '../http/replication/replication.ts'
import { refuseOtherVersions, replicationIndexOperation } from '../http/replication/versions.ts'
import { beginRequests } from '../http/requests.ts'
import { crossOrigin, requireHttps, securityHeaders } from '../http/security.ts'
import { createWriteLimit } from '../http/write-limit.ts'
import { createFollowers, type Followers } from '../realtime/followers.ts'
import type { Hints } from '../realtime/hints.ts'
import { createUnsubscribeTokens, unsubscribing } from '../reminders/unsubscribing.ts'
import { type BytesInFlight, createBytesInFlight } from '../runtime/bytes-in-flight.ts'
import type { Config } from '../runtime/config.ts'
import type { Log } from '../runtime/log.ts'
import { createMetrics, type Metrics } from '../runtime/metrics.ts'
import { createPlaces, limitFor } from '../runtime/places.ts'
import type { Tracing } from '../runtime/tracing.ts'
import { postgresExports } from '../store/export.ts'
import { feedReader } from '../store/feed-changes.ts'
import { postgresLists } from '../store/lists.ts'
import { postgresPositions } from '../store/positions.ts'
import { postgresStore } from '../store/postgres.ts'
import { postgresRevisions } from '../store/revisions.ts'
import { createTestDatabases } from '../store/test-databases.ts'
import { createTurns } from '../store/turns.ts'
import { usageReader } from '../store/usage.ts'
import type { Limits } from '../sync/limits.ts'
import type { Store } from '../sync/store.ts'
import { indexSoon } from './index-search.ts'

export interface AppDependencies {
  config: Config
  secrets: Secrets
  db: Database
  replica?: Replica | undefined
  log: Log
  tracing: Tracing
  version: string
  hints: Hints
  readiness: Pick<Readiness, 'check' | 'ask' | 'reasons'>
  /** The database's clock; tests set their own. */
  now: () => Date
  passwords?: Passwords
}

export interface App {
  express: Express
  /** Comes before it. */
  door: Door
  /** All operations, as in the OpenAPI document. */
  operations: readonly Operation[]
  store: Store
  administration: Administration
  sessions: Sessions
  followers: Followers
  answers: OpenAnswers
  streams: PullStreams
  changes: Changes
  /** Those of CouchDB's clients. */
  couchFeeds: readonly Pick<Feeds, 'end'>[]
  positions: ReturnType<typeof postgresPositions>
  metrics: Metrics
  bytes: BytesInFlight
}

/** The HTTP server. Handlers are in the order in which they see a request. */
export function createApp({
  config,
  secrets,
  db,
  replica,
  log,
  tracing,
  version,
  hints,
  readiness,
  now,
  passwords = createPasswords({ engine: backgroundBcrypt() }),
}: AppDependencies): App {
  const publicUrl = config.PUBLIC_URL
  const { ended } = hints
  const factorRoles = config.FACTOR_ROLES
  const delaysGuesses = config.AUTH_RATE_LIMIT !== 0
  const services = createAccountServices({
    db,
    secrets,
    passwords,
    sessionDays: config.SESSION_DAYS,
    factorRoles,
    log,
    now,
    registration: { mode: config.REGISTRATION, domains: config.REGISTRATION_DOMAINS ?? [] },
    confirmation: confirmationRules(config),
    delaysGuesses,
    ended,
  })
  const { accounts, sessions, administration, events, factors } = services
  const metrics = createMetrics()
  const bytes = createBytesInFlight(config.MAX_BYTES_IN_FLIGHT)
  const limits: Limits = {
    entriesPerDocument: config.JOURNAL_ENTRIES,
    documents: config.QUOTA_DOCUMENTS || Number.POSITIVE_INFINITY,
    bytes: config.QUOTA_BYTES || Number.POSITIVE_INFINITY,
  }
  // Every write follows a check of the session on the same node.
  const limitsOf = (user: string): Limits => {
    const person = { isLimited: sessions.isLimited(user) }
    const { documents, bytes } = limits
    return { ...limits, documents: limitFor(person, documents), bytes: limitFor(person, bytes) }
  }
  const store = postgresStore(db, hints.changed, { limitsOf, replica, readPage: metrics.page })
  const followers = createFollowers(store, log, metrics, tracing)
  const answers = createOpenAnswers(now)
  const positions = postgresPositions(db, now)
  const places = createPlaces(config.MAX_STREAMS_PER_USER)
  const streams = createPullStreams({
    followers,
    answers,
    bytes,
    places,
    metrics,
    positions,
    now,
  })
  const readFeed = feedReader(db)
  const changes = createChanges({ readFeed, followers, answers, places, publicUrl })
  const longPage = createLongPages(bytes, answers)
  const stored = { store, revisions: postgresRevisions(db) }
  const couchFeeds: Feeds[] = []
  /** @param answers that end with their sessions */
  const couch = (answers: OpenAnswers) => {
    const inParts = createParts(bytes, answers)
    const feeds = createFeeds({ stored, followers, answers, places, inParts })
    couchFeeds.push(feeds)
    return { stored, feeds, inParts, version }
  }
  const couchOfPeople = couchOperations({
    prefix: '/couch/',
    name: 'couch',
    databases: personalDatabases({ ...stored, readFeed, now }, accounts),
    ...couch(answers),
  })
  const lists = postgresLists(db, (user, resource) => {
    // A database that takes no writes serves searches, too.
    indexSoon(db, user, resource).catch((err) => log.warn({ err }, 'no search index is made'))
  })
  watchPool(metrics, db)
  watchBytes(metrics, bytes)
  watchHints(metrics, hints)
  watchJobs(metrics, readiness)
  watchReadiness(metrics, readiness)
  watchReplica(metrics, readiness, replica)

  const documents = [
    ...Object.values<Resource>(resources).flatMap((resource) =>
      restOperations(resource, { store, lists, now, publicUrl }),
    ),
    ...conflictOperations({ store, now }),
  ]
  const repeated = documents.filter(({ repeats }) => repeats === 'by_key')
  const api: Operation[] = [
    ...documents,
    batchOperation(repeated, { store, now }),
    changes.operation,
    ...Object.values<Resource>(resources).flatMap((resource) =>
      replicationOperations(resource, { store, streams, metrics, positions, longPage, now }),
    ),
    ...Object.values<Resource>(resources)
      .filter(({ singleton, readOnly }) => !singleton && !readOnly)
      .map((resource) => explainOperation(resource, { store, lists, sessions, positions })),
    ...accountOperations({ accounts, sessions, factors, publicUrl }),
    ...accountLifeOperations({ ...services, usage: usageReader(db), limitsOf, publicUrl }),
    ...factorOperations({ ...services, publicUrl }),
    ...accountSessionOperations(sessions),
    ...personalTokenOperations({ ...services, publicUrl }),
    ...accountEventOperations({ events, answers, publicUrl }),
    ...accountExportOperations({
      accounts,
      factors,
      events,
      exports: postgresExports(db),
      answers,
      store,
      log,
    }),
    ...unsubscribeOperations({
      unsubscribe: unsubscribing(store, createUnsubscribeTokens(secrets), now),
      publicUrl,
    }),
    ...administrationOperations({ administration, audit: createAudit(db), publicUrl }),
    replicationIndexOperation(Object.values<Resource>(resources)),
    ...resourceSchemaOperations(Object.values<Resource>(resources)),
    securityTxtOperation({ contact: config.SECURITY_CONTACT, publicUrl, now }),
    metricsOperation({
      metrics,
      async mayRead(token) {
        return may((await sessions.authenticate(token)).role, 'metrics.read')
      },
      token: config.METRICS_TOKEN,
      openWithoutToken: !config.isProduction,
    }),
  ]
  const described = [...api, ...couchOfPeople]
  const about = aboutOperations({ readiness, version, publicUrl }, described)

  const app = express().disable('x-powered-by').disable('etag').set('query parser', 'simple')
  app.set('trust proxy', config.TRUST_PROXY)
  const https = publicUrl?.startsWith('https:') ?? false
  const headers = securityHeaders({ https, subdomains: config.HSTS_SUBDOMAINS })
  app.use(beginRequests({ headers, log, metrics, tracing, now }))
  app.use('/couch', speaking(inCouch))
  app.use(refuseOverload(poolState(db)))
  if (config.needsHttps) app.use(requireHttps(publicUrl!))
  if (config.CORS_ORIGINS.length > 0) app.use(crossOrigin(config.CORS_ORIGINS, '/couch/'))
  const engine = {
    authenticate: (req, needs) => sessions.authenticate(bearerToken(req), needs),
    limit: attemptLimit(db, config.AUTH_RATE_LIMIT),
    limitWrites: createWriteLimit(config.WRITES_PER_MINUTE),
    metrics,
    log,
    maxBodyBytes: config.MAX_BODY_BYTES,
    bytes,
    compress: createCompression(bytes),
    turns: { device: createTurns({ lanes: 2 }), person: createTurns({ lanes: 2 }) },
  } satisfies MountDependencies
  mount(app, [...api, ...about], engine)
  app.use('/couch', refuseQueries)
  mount(app, couchOfPeople, {
    ...engine,
    authenticate: couchAuthentication({
      sessions,
      basicSignIn: createBasicSignIn(accounts, sessions),
      signingIn: (request) => ({
        origin: originOf({ request }),
        rp: relyingParty(publicUrl, request),
      }),
    }),
  })
  app.use('/couch', unknownInCouch)
  if (config.COUCH_TEST_MODE) {
    const testOperations = couchOperations({
      prefix: '/couch-test/',
      name: 'couch_test',
      databases: testDatabases(stored, createTestDatabases(db)),
      // Nobody is signed in.
      ...couch(createOpenAnswers(now)),
    })
    app.use('/couch-test', speaking(inCouch), refuseQueries)
    mount(app, testOperations, {
      ...engine,
      authenticate: async () => ANYBODY,
      limitWrites: () => {},
    })
    app.use('/couch-test', unknownInCouch)
  }
  app.use('/replication', refuseOtherVersions(Object.values<Resource>(resources)))
  app.use(usualPlaces())
  app.use(swaggerUi({ keepsToken: !config.isProduction }))
  app.use(webApp(publicUrl))
  app.use(notFound)
  app.use(answerProblems(log))
  return {
    express: app,
    door: createDoor({ pool: poolState(db), headers, metrics, log, now }),
    operations: [...described, ...about],
    store,
    administration,
    sessions,
    followers,
    answers,
    streams,
    changes,
    couchFeeds,
    positions,
    metrics,
    bytes,
  }
}
