/** The header of pulls and pushes in which a client that stores the checkpoint of each push sends them. */
export const REPLICA_HEADER = 'Tasktide-Replica'
