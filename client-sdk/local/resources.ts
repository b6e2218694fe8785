import { resources as definitions, type Resource } from '../../protocol/index.ts'
import type { ResourceName } from './documents.ts'

/** The part of a resource definition that devices need. */
export type Definition = Pick<
  Resource,
  | 'name'
  | 'version'
  | 'revision'
  | 'fields'
  | 'fieldNames'
  | 'required'
  | 'initial'
  | 'stamps'
  | 'blank'
> & { readonly readOnly: boolean; readonly singleton: boolean }

/** The build replaces these with data, so that the bundle contains no validator. */
export const resources: Readonly<Record<ResourceName, Definition>> = { ...definitions }
