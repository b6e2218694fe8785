import express, { type Router } from 'express'

/** Where programs look for a description, and where it is. */
const PLACES = { '/openapi.json': '/api/schema/', '/asyncapi.json': '/api/asyncapi/' }

/** Redirects to the descriptions. They are not operations: a description does not describe itself. */
export function usualPlaces(): Router {
  const router = express.Router()
  for (const [from, to] of Object.entries(PLACES))
    router.get(from, (_req, res) => res.redirect(308, to))
  return router
}
