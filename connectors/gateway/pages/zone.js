// Where no time zone is stored, the browser's is proposed; it is stored only when the person saves.
const zones = document.getElementById("zone");
if (zones && zones.value === "" && !zones.hasAttribute("aria-invalid")) {
  const here = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if ([...zones.options].some((option) => option.value === here)) zones.value = here;
}
