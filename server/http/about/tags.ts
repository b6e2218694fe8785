import { type Resource, resources } from '../../../protocol/index.ts'

const DESCRIPTIONS: Readonly<Record<string, string>> = {
  account:
    'Registering, signing in and renewing tokens, the password and the address, second factors, sessions, personal tokens, and exports of all data.',
  administration:
    'Accounts of others and the audit log, for people with the role support or admin.',
  batch: 'Many writes in one request.',
  changes: 'What is new in all resources since the last request.',
  about: 'Health checks, metrics, and descriptions of the API.',
  couchdb:
    "CouchDB's replication protocol, for PouchDB, RxDB's CouchDB plugin and others: the same documents as everywhere else. docs/couchdb.md describes it.",
}

/** What the operations of a tag are about. */
export function describeTag(tag: string): string {
  const own = DESCRIPTIONS[tag]
  if (own) return own
  const isReplication = tag.startsWith(REPLICATION)
  const name = isReplication ? tag.slice(REPLICATION.length) : tag
  const resource = Object.values<Resource>(resources).find((one) => one.name === name)
  if (!resource) throw new Error(`The tag ${tag} has no description.`)
  if (isReplication)
    return `A copy of your ${name} on a device: pulling changes, pushing your own, and comparing. The wire format is that of RxDB's clients.`
  if (resource.singleton) return `Your ${name}.`
  return `Your ${name}${resource.readOnly ? ', which only the server writes' : ''}. Nobody else can read them.`
}

const REPLICATION = 'replication of '
