# Holds one folder and one server for the process at the other end of stdin.
# Reads a call a line, answers each with one line. At the end of the input,
# however the other side went, the server is killed and the folder is removed.

# Once its parent has died, the kernel hangs up on a process group with a stopped
# member, as one is while it is being killed.
trap '' HUP
trap : INT TERM
umask 077
folder=$(mktemp -d "$1/cloakroom-$2-XXXXXX") && cd "$folder" || exit 1
folder=$(pwd -P)
echo "$folder"
exec 2>>log

# A shell of its own waits for the server: as a child of this one, which must go
# on reading, a dead server would stay a zombie that looks alive.
start() {
    rm -f ended pid
    (
        "$@" </dev/null &
        echo $! >pid.new && mv pid.new pid
        wait $!
        echo $? >ended
    ) >>log 2>&1 &
    while [ ! -s pid ]; do sleep 0.005; done
    cat pid
}

run() {
    "$@" </dev/null >>log 2>&1
    echo $?
}

children() {
    cat "/proc/$1/task/$1/children" 2>/dev/null || pgrep -P "$1"
}

# A zombie has no command line, and no longer holds anything.
alive() {
    if [ -e /proc/self/cmdline ]; then
        [ -n "$(cat "/proc/$1/cmdline" 2>/dev/null | tr -d '\0')" ]
    else
        kill -0 "$1"
    fi
}

ended() { [ ! -s pid ] || [ -s ended ]; }

stop_all() {
    ended && return
    read -r pid <pid
    # Stopped first, so that it forks nothing more.
    kill -STOP "$pid"
    family=$(children "$pid")
    [ -z "$family" ] || kill -STOP $family
}

wake_all() {
    ended && return
    read -r pid <pid
    family=$(children "$pid")
    kill -CONT $family "$pid"
}

kill_all() {
    ended && return
    stop_all
    kill -KILL $family "$pid"
    tries=0
    while [ $tries -lt 3000 ]; do
        left=
        for one in $family "$pid"; do alive "$one" && left=$one; done
        ended && [ -z "$left" ] && break
        sleep 0.01
        tries=$((tries + 1))
    done
}

# Asks the server to end; it may take its time.
ask() {
    ended && return
    wake_all
    kill "-$1" "$pid"
}

# The kernel keeps the shared memory of a PostgreSQL that was killed. Its lock file
# names it: the key and the id.
forget_memory() {
    [ -r data/postmaster.pid ] || return
    set -- $(sed -n 7p data/postmaster.pid)
    [ -z "$2" ] || ipcrm -m "$2"
}

while IFS= read -r call; do
    case $call in
    start\ * | run\ *) eval "$call" ;;
    *) eval "$call" && echo done || echo done ;;
    esac
done

kill_all
forget_memory
cd / && rm -rf "$folder"
