/** The package has no types. */
declare module 'pouchdb-merge' {
  export type TreeNode = [id: string, about: { status: string; deleted?: boolean }, TreeNode[]]
  export interface Path {
    pos: number
    ids: TreeNode
  }
  export type Tree = Path[]
  export function merge(tree: Tree, path: Path, limit: number): { tree: Tree }
  export function collectLeaves(tree: Tree): { rev: string }[]
  export function winningRev(metadata: { rev_tree: Tree }): string
  export function collectConflicts(metadata: { rev_tree: Tree }): string[]
  export function isDeleted(metadata: { rev_tree: Tree }): boolean
  export function revExists(tree: Tree, rev: string): boolean
  export function traverseRevTree(
    tree: Tree,
    visit: (isLeaf: boolean, generation: number, id: string) => void,
  ): void
}
