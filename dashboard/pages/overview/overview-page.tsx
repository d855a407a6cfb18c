import { Page } from '../../kit/page.tsx'

export default function OverviewPage() {
  return <Page title="Overview">{null}</Page>
}
