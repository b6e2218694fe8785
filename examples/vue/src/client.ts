import type { Client } from '@tasktide/client'
import type { Observable } from 'rxjs'
import { type InjectionKey, inject, onScopeDispose, type Ref, shallowRef } from 'vue'

export const CLIENT: InjectionKey<Client> = Symbol('client')

export const useClient = () => inject(CLIENT)!

/** The latest value of an observable; undefined before the first one. */
export function useObservable<T>(values$: Observable<T>): Readonly<Ref<T | undefined>> {
  const value = shallowRef<T>()
  const subscription = values$.subscribe((next) => {
    value.value = next
  })
  onScopeDispose(() => subscription.unsubscribe())
  return value
}
