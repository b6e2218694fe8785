import {
  accounts,
  digestResponseSchema,
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
  devices: shapeOf(accounts.signedInDevices),
}
