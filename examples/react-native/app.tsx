import { TasktideProvider, useClient, useUser } from '@tasktide/client/react-native'
import { ActivityIndicator, View } from 'react-native'
import { open } from './client'
import { SignIn } from './sign-in'
import { Tasks } from './tasks'

export const App = () => (
  <View style={{ flex: 1, margin: 48 }}>
    <TasktideProvider open={open} fallback={<ActivityIndicator />}>
      <Screen />
    </TasktideProvider>
  </View>
)

function Screen() {
  return useUser(useClient()) ? <Tasks /> : <SignIn />
}
