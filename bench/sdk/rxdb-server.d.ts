/** It is installed apart (tests/peers). */
declare module 'rxdb-server/plugins/replication-server' {
  export function replicateServer(options: object): unknown
}
