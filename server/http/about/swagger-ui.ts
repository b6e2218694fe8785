import express, { type Router } from 'express'
import helmet from 'helmet'
import absolutePath from 'swagger-ui-dist/absolute-path.js'
import { Problem } from '../../../protocol/index.ts'
import { methodNotAllowed } from '../problems.ts'

const PATH = '/api/docs'

/**
 * Swagger UI, from files of our own: nothing is fetched from anywhere else. Links are absolute, so
 * that the page works with and without the last slash.
 */
export function swaggerUi(): Router {
  const router = express.Router()
  router.use(PATH, helmet.contentSecurityPolicy({ useDefaults: false, directives: CSP }))
  router.get(PATH, (_req, res) => {
    res.type('html').send(PAGE)
  })
  router.get(`${PATH}/start.js`, (_req, res) => {
    res.type('js').send(START)
  })
  for (const file of ['swagger-ui.css', 'swagger-ui-bundle.js', 'favicon-32x32.png'])
    router.get(`${PATH}/${file}`, (_req, res) => {
      res.sendFile(file, { root: absolutePath(), maxAge: '1h', acceptRanges: false })
    })
  router.all([PATH, `${PATH}/*file`], (req) => {
    if (['GET', 'HEAD'].includes(req.method)) throw new Problem('not_found')
    throw methodNotAllowed(req, 'GET, HEAD')
  })
  return router
}

/** Swagger UI writes style attributes; its pictures are data. */
const CSP = {
  defaultSrc: ["'none'"],
  scriptSrc: ["'self'"],
  styleSrc: ["'self'", "'unsafe-inline'"],
  imgSrc: ["'self'", 'data:'],
  connectSrc: ["'self'"],
  baseUri: ["'none'"],
  formAction: ["'self'"],
  frameAncestors: ["'none'"],
}

const PAGE = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Tasktide API</title>
    <link rel="stylesheet" href="${PATH}/swagger-ui.css">
    <link rel="icon" type="image/png" href="${PATH}/favicon-32x32.png">
  </head>
  <body>
    <div id="swagger-ui"></div>
    <script src="${PATH}/swagger-ui-bundle.js"></script>
    <script src="${PATH}/start.js"></script>
  </body>
</html>
`

const START = `window.ui = SwaggerUIBundle({
  url: '/api/schema/',
  dom_id: '#swagger-ui',
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: 'list',
  persistAuthorization: true,
  tryItOutEnabled: true,
  validatorUrl: null,
})
`
