// Kotlin: the request with OkHttp.

import { quoted } from "./request.js";

/** @param {import("./request.js").Request} request */
export function kotlin({ url, fields, files, needsKey, output }) {
  const parts = files.map(([name, , fileName]) => `    .addFormDataPart(${text(name)}, ${text(name)}, File(${text(fileName)}).asRequestBody())`);
  const options = fields.map(([name, value]) => `    .addFormDataPart(${text(name)}, ${text(value)})`);
  const key = needsKey ? '\n    .header("X-Api-Key", key)' : "";
  return `import java.io.File
import okhttp3.MultipartBody
import okhttp3.OkHttpClient
import okhttp3.Request
import okhttp3.RequestBody.Companion.asRequestBody

val body = MultipartBody.Builder().setType(MultipartBody.FORM)
${[...parts, ...options].join("\n")}
    .build()
val request = Request.Builder()
    .url(${text(url)})${key}
    .post(body)
    .build()

OkHttpClient().newCall(request).execute().use { response ->
    check(response.isSuccessful) { response.body!!.string() }
    File(${text(output)}).writeBytes(response.body!!.bytes())
}`;
}

const text = (value) => quoted(value).replaceAll("$", "\\$");
