import { createClient, sqliteStorage } from '@tasktide/client/react-native'
import { openDatabaseSync } from 'expo-sqlite'
import { AppState } from 'react-native'

// Not `localhost`: on a phone that is the phone.
const url = process.env.EXPO_PUBLIC_TASKTIDE_URL ?? 'http://10.0.2.2:3000'

const database = openDatabaseSync('tasktide.db')
const storage = sqliteStorage({
  execute: (statement, parameters) => database.getAllAsync(statement, parameters as string[]),
})

export async function open() {
  const client = await createClient({ url, storage })
  AppState.addEventListener('change', (state) => state === 'active' && client.sync.wake())
  return client
}
