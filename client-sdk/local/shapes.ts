import {
  accounts,
  digestResponseSchema,
  events,
  factors,
  personalTokens,
  pullResponseSchema,
  pushResponseSchema,
  resources,
  shapeOf,
} from '../../protocol/index.ts'

/** The build replaces these with data, like the resources. */
export const shapes = {
  pull: shapeOf(pullResponseSchema),
  push: shapeOf(pushResponseSchema),
  digest: shapeOf(digestResponseSchema),
  conflict: shapeOf(resources.conflicts.document),
  account: shapeOf(accounts.account),
  confirmation: shapeOf(accounts.confirmation),
  events: shapeOf(events.securityEvents),
  devices: shapeOf(accounts.signedInDevices),
  personalTokens: shapeOf(personalTokens.personalTokens),
  factors: shapeOf(factors.factors),
  passkey: shapeOf(factors.passkey),
  passkeys: shapeOf(factors.passkeys),
  totp: shapeOf(factors.newTotp),
  publicKey: shapeOf(factors.newPasskey),
  recoveryCodes: shapeOf(factors.recoveryCodes),
}
