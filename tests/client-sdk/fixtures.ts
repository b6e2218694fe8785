import { test as shared } from '../support/fixtures.ts'
import { createNetwork } from './network.ts'

/** Each test also has a network between its devices and the server, on which things can go wrong. */
export const test = shared.extend('network', async ({ server }, { onCleanup }) => {
  const network = await createNetwork(server.url)
  onCleanup(() => network.close())
  return network
})
