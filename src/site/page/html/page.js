// Keeps the page as it is now. Without it every button works too; the page is then renewed by hand.
"use strict";
(function () {
  var say = document.getElementById("news");
  var error = document.getElementById("who-error");
  // A page that was just loaded is not announced; what has focus is read.
  if (error) document.getElementById("who").focus();
  else if (say) say.focus();

  var parts = document.getElementById("parts");
  if (!parts) return;
  var live = document.getElementById("live");
  var pause = document.getElementById("pause");
  var offline = document.getElementById("offline");
  var told = parts.dataset.summary;
  var moved = -Infinity, busy = false, again = false, sent = false;

  function presses(part) {
    return Array.from(part.querySelectorAll("button, a[href]"), function (it) { return it.id || it.textContent; }).join(" ");
  }

  function swap(html) {
    var fresh = new DOMParser().parseFromString(html, "text/html");
    var active = document.activeElement;
    var inside = active && active.id && parts.contains(active) ? active.id : "";
    var home = inside && active.closest("[id^=part-]");
    var from = active && active.selectionStart, to = active && active.selectionEnd;
    fresh.querySelectorAll("[id^=part-]").forEach(function (part) {
      var old = document.getElementById(part.id);
      if (!old) return;
      // What somebody is told about what they typed stays until they press again.
      if (old.querySelector("#who-error") && part.querySelector("#who")) return;
      part.querySelectorAll("details[id]").forEach(function (it) {
        var was = document.getElementById(it.id);
        if (was && was.open) it.open = true;
      });
      part = document.importNode(part, true);
      if (old.isEqualNode(part)) return;
      var field = part.querySelector("#who"), typed = old.querySelector("#who");
      if (field && typed) field.value = typed.value;
      if (presses(old) !== presses(part)) moved = performance.now();
      old.replaceWith(part);
    });
    if (inside && document.activeElement !== document.getElementById(inside)) {
      var back = document.getElementById(inside);
      if (!back && home) {
        back = (document.getElementById(home.id) || parts).querySelector("h2");
        if (back) back.tabIndex = -1;
      }
      if (back) back.focus({ preventScroll: true });
      if (back && back.setSelectionRange && typeof from === "number") back.setSelectionRange(from, to);
    }
    var now = document.getElementById("part-summary");
    document.title = now.dataset.title;
    if (now.dataset.summary !== told) {
      told = now.dataset.summary;
      live.textContent = told;
    }
  }

  function look() {
    if (busy) { again = true; return; }
    busy = true;
    fetch("/part", { credentials: "same-origin", cache: "no-store" })
      .then(function (answer) {
        if (answer.status === 401) { location.replace("/login?then=again"); }
        if (!answer.ok) throw new Error(answer.status);
        return answer.text();
      })
      .then(function (html) { offline.hidden = true; swap(html); })
      .catch(function () { offline.hidden = false; offline.textContent = offline.dataset.says; })
      .then(function () {
        busy = false;
        if (again) { again = false; look(); }
      });
  }

  // A button that moved under the finger a moment ago was not meant; to close or to stay always is.
  document.addEventListener("submit", function (event) {
    if (sent) { event.preventDefault(); return; }
    if (!event.target.hasAttribute("data-safe") && parts.contains(event.target) && performance.now() - moved < 700) {
      event.preventDefault();
      pause.hidden = false;
      pause.textContent = pause.dataset.says;
      return;
    }
    sent = true;
    setTimeout(function () { sent = false; }, 5000);
  });
  window.addEventListener("pageshow", function () { sent = false; });

  if (window.EventSource) {
    var events = new EventSource("/events");
    events.onmessage = events.onopen = events.onerror = look;
  }
  window.addEventListener("offline", look);
  window.addEventListener("online", look);
  setInterval(look, 15000);
  document.addEventListener("visibilitychange", function () { if (!document.hidden) look(); });
})();
