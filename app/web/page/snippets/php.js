// PHP: the request with the extension curl.

/** @param {import("./request.js").Request} request */
export function php({ url, fields, files, needsKey, output }) {
  const parts = files.map(([name, , fileName]) => `    ${text(name)} => new CURLFile(${text(fileName)}),`);
  const options = fields.map(([name, value]) => `    ${text(name)} => ${text(value)},`);
  const headers = needsKey ? "\n    CURLOPT_HTTPHEADER => ['X-Api-Key: ' . getenv('CUTOUT_KEY')]," : "";
  return `<?php
$request = curl_init(${text(url)});
$form = [
${[...parts, ...options].join("\n")}
];
curl_setopt_array($request, [
    CURLOPT_POSTFIELDS => $form,
    CURLOPT_RETURNTRANSFER => true,
    CURLOPT_TIMEOUT => 60,${headers}
]);
$result = curl_exec($request);
if (curl_getinfo($request, CURLINFO_RESPONSE_CODE) !== 200) {
    exit($result === false ? curl_error($request) : json_decode($result)->detail);
}
file_put_contents(${text(output)}, $result);`;
}

const text = (value) => `'${value.replace(/[\\']/g, "\\$&")}'`;
