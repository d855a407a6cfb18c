interface JobNetwork {
  readonly httpsProxy: string | null
  readonly noProxy: string | null
  /** As the job sees it. */
  readonly caFile: string | null
}

/** How a job is told of this network's proxy and private CA, in the names that common programs look for. */
export function networkVariables({ httpsProxy: proxy, noProxy, caFile }: JobNetwork): Record<string, string> {
  return {
    ...(proxy !== null && { HTTPS_PROXY: proxy, https_proxy: proxy, HTTP_PROXY: proxy, http_proxy: proxy }),
    ...(noProxy !== null && { NO_PROXY: noProxy, no_proxy: noProxy }),
    ...(caFile !== null && {
      SSL_CERT_FILE: caFile,
      NODE_EXTRA_CA_CERTS: caFile,
      REQUESTS_CA_BUNDLE: caFile,
      CURL_CA_BUNDLE: caFile,
    }),
  }
}
