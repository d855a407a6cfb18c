import { Component, type ReactNode } from 'react'
import { Button } from '../kit/button.tsx'
import { Trouble } from '../kit/trouble.tsx'

/**
 * Parts of the dashboard are loaded when they are needed, and a release replaces them all: a page that was opened
 * before it asks for parts that are gone. Loading the page again gets the new ones.
 */
export class PartBoundary extends Component<
  { readonly children: ReactNode },
  { readonly isBroken: boolean }
> {
  override readonly state = { isBroken: false }

  static getDerivedStateFromError(): { readonly isBroken: boolean } {
    return { isBroken: true }
  }

  override render(): ReactNode {
    if (!this.state.isBroken) return this.props.children
    return (
      <div className="empty">
        <Trouble>This part of the page could not be loaded. There may be a newer release.</Trouble>
        <Button look="primary" onClick={() => location.reload()}>
          Load the page again
        </Button>
      </div>
    )
  }
}
