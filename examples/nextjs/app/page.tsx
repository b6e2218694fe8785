'use client'

import { useClient, useUser } from '@tasktide/client/react'
import { SignIn } from './sign-in'
import { Tasks } from './tasks'

export default function Page() {
  return useUser(useClient()) ? <Tasks /> : <SignIn />
}
