/** The header of a sign-in in which a device sends the marks that it got at earlier ones, separated by commas. */
export const DEVICE_HEADER = 'Tasktide-Device'

/** The header of pulls and pushes in which a client that stores the checkpoint of each push sends them. */
export const REPLICA_HEADER = 'Tasktide-Replica'
