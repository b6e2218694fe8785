import { createClient } from '@tasktide/client'
import { dexieStorage } from '@tasktide/client/dexie'
import { createApp } from 'vue'
import App from './App.vue'
import { CLIENT } from './client'

const url = import.meta.env.VITE_TASKTIDE_URL ?? 'http://localhost:3000'
const client = await createClient({ url, storage: dexieStorage() })
createApp(App).provide(CLIENT, client).mount('#app')
