#!/bin/sh
# Stands in for ssh, sftp and scp: writes down how it was called, NUL behind each word, a line end behind each call.
{
    printf '%s\0' "${0##*/}" "$@"
    printf '\n'
} >>"$RECORD"
case " $* " in
*" -O check "*) exit "${MASTER:-255}" ;;
esac
exit "${CODE:-0}"
