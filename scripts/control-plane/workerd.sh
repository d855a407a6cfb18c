#!/bin/sh
# Starts workerd so that it dies with the process that started it, even when that one is killed with -9:
# a workerd left behind would go on firing the alarms of a state folder that a new one has opened.
if setpriv --pdeathsig KILL true 2>/dev/null; then
  exec setpriv --pdeathsig KILL "$CERTYN_WORKERD" "$@"
fi
# Elsewhere a small loop watches both. It keeps none of workerd's streams open.
parent=$PPID
(
  while kill -0 "$parent" 2>/dev/null && kill -0 $$ 2>/dev/null; do sleep 1; done
  kill -9 $$ 2>/dev/null
) </dev/null >/dev/null 2>&1 3>&- &
exec "$CERTYN_WORKERD" "$@"
