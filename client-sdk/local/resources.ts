import { resources as definitions, type Resource } from '../../protocol/index.ts'
import type { ResourceName } from './documents.ts'

/** What a device has to know of a resource. */
export type Definition = Pick<
  Resource,
  'name' | 'version' | 'revision' | 'fields' | 'fieldNames' | 'initial' | 'stamps'
> & { readonly readOnly: boolean; readonly singleton: boolean }

/** The build writes these down as data, so that no validator is in the bundle. */
export const resources: Readonly<Record<ResourceName, Definition>> = { ...definitions }
