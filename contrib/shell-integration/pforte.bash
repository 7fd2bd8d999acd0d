# shellcheck shell=bash
# pforte.bash: tells the gateway's recording where a prompt and a command line begin, and what the command line is, exactly.
# For machines behind the gateway: copy it to /etc/profile.d/pforte.sh, or source it at the end of ~/.bashrc. It changes nothing else.
#
# Marks: OSC 133 A (prompt begins), B (command line begins), C (it runs), D;EXIT (it has ended), and OSC 633 E;LINE (the line).
# It needs bash 4.4 or newer; older ones, scripts and terminals without marks are left alone. Sourcing it twice does nothing.

if [[ $- == *i* && -z ${__pforte_marks-} && ${TERM-dumb} != dumb ]] &&
    ((BASH_VERSINFO[0] > 4 || (BASH_VERSINFO[0] == 4 && BASH_VERSINFO[1] >= 4))); then
    __pforte_marks=1
    # The number of the last line that was told: an empty Enter tells none.
    __pforte_told=
    __pforte_ran=

    # The line as readline took it: bash's history has it, unless HISTCONTROL or HISTIGNORE keep it out; then nothing is
    # told, and the gateway reads the screen.
    __pforte_line() {
        local LC_ALL=C line number
        line=$(HISTTIMEFORMAT='' builtin history 1)
        [[ $line =~ ^[[:space:]]*([0-9]+)[*]?[[:space:]][[:space:]](.*)$ ]] || return 0
        number=${BASH_REMATCH[1]} line=${BASH_REMATCH[2]}
        [[ $number != "$__pforte_told" ]] || return 0
        line=${line//\\/\\\\}
        line=${line//;/\\x3b}
        line=${line//$'\n'/\\x0a}
        line=${line//$'\e'/\\x1b}
        line=${line//$'\a'/\\x07}
        line=${line//[[:cntrl:]]/\\x20}
        printf '\e]633;E;%s\a' "$line"
    }

    # PS0 is shown after a line was taken and before it runs, in a subshell.
    __pforte_before() {
        __pforte_line
        printf '\e]133;C\a'
    }

    # Before each prompt. It leaves $? as it found it.
    __pforte_after() {
        local status=$? line
        line=$(HISTTIMEFORMAT='' builtin history 1)
        [[ $line =~ ^[[:space:]]*([0-9]+) ]] && __pforte_told=${BASH_REMATCH[1]}
        [[ -n $__pforte_ran ]] && printf '\e]133;D;%s\a' "$status"
        __pforte_ran=1
        # A prompt that was set anew lost its marks.
        [[ $PS1 == *'133;B'* ]] || PS1='\[\e]133;A\a\]'$PS1'\[\e]133;B\a\]'
        # shellcheck disable=SC2016 # bash expands it when it shows PS0
        [[ ${PS0-} == *__pforte_before* ]] || PS0=${PS0-}'$(__pforte_before)'
        return "$status"
    }

    # Last, so that what the others make of PS1 gets its marks.
    # shellcheck disable=SC2178,SC2128 # it is an array from bash 5.1 on, if somebody made it one
    if [[ $(declare -p PROMPT_COMMAND 2>/dev/null) == 'declare -a'* ]]; then
        PROMPT_COMMAND+=(__pforte_after)
    else
        PROMPT_COMMAND="${PROMPT_COMMAND:+$PROMPT_COMMAND; }__pforte_after"
    fi
fi
