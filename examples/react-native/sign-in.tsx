import { ClientError, useClient } from '@tasktide/client/react-native'
import { useState } from 'react'
import { Button, Text, TextInput, View } from 'react-native'

export function SignIn() {
  const { session } = useClient()
  const [username, setUsername] = useState('')
  const [password, setPassword] = useState('')
  const [fault, setFault] = useState('')

  async function signIn() {
    try {
      await session.signIn({ username, password })
    } catch (error) {
      if (!(error instanceof ClientError)) throw error
      setFault(error.message)
    }
  }

  return (
    <View>
      <TextInput
        placeholder="Username"
        autoCapitalize="none"
        autoComplete="username"
        onChangeText={setUsername}
      />
      <TextInput
        placeholder="Password"
        secureTextEntry
        autoComplete="current-password"
        onChangeText={setPassword}
      />
      <Button title="Sign in" onPress={signIn} />
      <Text accessibilityRole="alert">{fault}</Text>
    </View>
  )
}
