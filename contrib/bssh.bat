@echo off
rem bssh: log in at a customer's machine with PuTTY's plink, through the gateway. Import putty-pforte.reg first.
rem Made by pforte {{ version }} for {{ user }}. ASCII only; no character that cmd would interpret is let through.
setlocal DisableDelayedExpansion
set "ARGUMENT=%~1"
if not defined ARGUMENT goto usage
setlocal EnableDelayedExpansion
set "ODD="
for /f "delims=ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-@" %%c in ("!ARGUMENT!") do set "ODD=1"
if defined ODD goto odd
if "!ARGUMENT:~0,1!"=="-" goto usage
set "LOGIN={{ user }}"
set "DOMAIN=!ARGUMENT!"
for /f "tokens=1,2 delims=@" %%a in ("!ARGUMENT!") do if not "%%b"=="" (
    set "LOGIN=%%a"
    set "DOMAIN=%%b"
)
if /i not "!LOGIN!"=="{{ user }}" goto other
set "SESSION="
{% for session in domains %}
if /i "!DOMAIN!"=="{{ session.domain }}" set "SESSION={{ session.name }}"
{% endfor %}
if not defined SESSION goto unknown
where plink >nul 2>&1 || set "PATH=!PATH!;!ProgramFiles!\PuTTY"
plink -no-antispoof -load "!SESSION!"
exit /b !ERRORLEVEL!

:usage
echo Aufruf / usage: bssh [USER@]DOMAIN 1>&2
exit /b 64
:odd
echo bssh: only A-Z a-z 0-9 . - @ are allowed here / nur A-Z a-z 0-9 . - @ sind hier erlaubt 1>&2
exit /b 64
:other
echo bssh: this kit is for {{ user }} / dieses Kit ist fuer {{ user }} 1>&2
exit /b 64
:unknown
echo bssh: this domain is not in this kit / diese Domain steht nicht in diesem Kit 1>&2
exit /b 64
