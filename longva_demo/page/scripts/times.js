// Times as people read and type them.

// m:ss or h:mm:ss, truncated, never past the moment itself. `format_time` in times.py computes the same.
const formatTime = (seconds, decimals = 0) => {
  const step = 10 ** decimals, units = Math.floor(Math.max(0, seconds) * step + 1e-6);
  const whole = Math.floor(units / step), pad = (n, width = 2) => String(n).padStart(width, "0");
  const h = Math.floor(whole / 3600), m = Math.floor(whole / 60) % 60, s = whole % 60;
  const text = h ? `${h}:${pad(m)}:${pad(s)}` : `${m}:${pad(s)}`;
  return decimals ? `${text}.${pad(units % step, decimals)}` : text;
};

// Seconds from "90", "1:30" or "0:01:30.5"; NaN if the text is not a time. `parse_time` in times.py reads the same.
const parseTime = (text) => {
  const parts = text.trim().split(":");
  if (parts.length > 3 || !parts.every((part) => part.trim())) return NaN;
  const seconds = parts.reduce((sum, part) => sum * 60 + Number(part), 0);
  return Number.isFinite(seconds) && seconds >= 0 ? seconds : NaN;
};

// As a person would type it, to the hundredth of a second: 1:20.5.
const formatTypedTime = (seconds) => formatTime(Math.round(seconds * 100) / 100, 2).replace(/\.?0+$/, "");

// Widens a range (seconds) to at least one second, as far as the bounds allow.
const widenRange = (from, to, min, max) => {
  const missing = Math.max(0, 1 - (to - from)) / 2;
  const start = Math.max(min, Math.min(from - missing, max - 1));
  return { start, end: Math.min(max, Math.max(to + missing, start + 1)) };
};

Object.assign(window, { formatTime, parseTime, formatTypedTime, widenRange });
