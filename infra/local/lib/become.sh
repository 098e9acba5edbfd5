# shellcheck shell=bash
# Notes its own pid and birth in a pid file, then becomes the program: bash become.sh PID_FILE PROGRAM [ARG]...
# It stands alone so that the pid file is whole before the program begins, whatever happens to the caller.

set -euo pipefail
file=$1
shift
# shellcheck source-path=SCRIPTDIR source=process.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/process.sh"
printf '%s\n%s\n' "$$" "$(birth_of "$$")" >"$file.new"
mv "$file.new" "$file"
exec "$@"
