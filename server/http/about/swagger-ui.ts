import express, { type RequestHandler, type Router } from 'express'
import helmet from 'helmet'
import swaggerUiExpress from 'swagger-ui-express'
import { Problem } from '../../../protocol/index.ts'
import { methodNotAllowed } from '../problems.ts'

const PATH = '/api/docs'

/**
 * Swagger UI, from files of our own: nothing is fetched from anywhere else.
 *
 * @param keepsToken whether the browser stores the token: for development, because others may use the browser too
 */
export function swaggerUi({ keepsToken }: { keepsToken: boolean }): Router {
  const page = pageOf(keepsToken)
  const router = express.Router()
  router.use(PATH, helmet.contentSecurityPolicy({ useDefaults: false, directives: CSP }))
  router.use(PATH, (req, _res, next) => {
    if (!['GET', 'HEAD'].includes(req.method)) throw methodNotAllowed(req, 'GET, HEAD')
    // Other files of the package, which describe the package.
    if (['/package.json', '/index.html'].includes(req.path)) throw new Problem('not_found')
    next()
  })
  router.get(PATH, (req, res, next) => {
    // The page names its files relative to the folder.
    if (req.path === PATH) res.redirect(308, `${PATH}/`)
    else page(req, res, next)
  })
  router.use(PATH, ...swaggerUiExpress.serveWithOptions({ maxAge: '1h', acceptRanges: false }))
  router.use(PATH, () => {
    throw new Problem('not_found')
  })
  return router
}

const pageOf = (keepsToken: boolean): RequestHandler =>
  swaggerUiExpress.setup(undefined, {
    customSiteTitle: 'Tasktide API',
    customCss: '.swagger-ui .topbar { display: none }',
    swaggerUrl: '/api/schema/',
    swaggerOptions: {
      displayRequestDuration: true,
      docExpansion: 'list',
      persistAuthorization: keepsToken,
      tryItOutEnabled: true,
      validatorUrl: null,
    },
  })

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
