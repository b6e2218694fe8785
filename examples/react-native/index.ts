import 'react-native-get-random-values' // first: the ids of documents are random
import { registerRootComponent } from 'expo'
import { App } from './app'

registerRootComponent(App)
