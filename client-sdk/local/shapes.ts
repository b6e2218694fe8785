import {
  accounts,
  pullResponseSchema,
  pushResponseSchema,
  resources,
  shapeOf,
} from '../../protocol/index.ts'

/** The build replaces these with data, like the resources. */
export const shapes = {
  pull: shapeOf(pullResponseSchema),
  push: shapeOf(pushResponseSchema),
  conflict: shapeOf(resources.conflicts.document),
  account: shapeOf(accounts.account),
  devices: shapeOf(accounts.signedInDevices),
}
