// Swift: the request with URLSession, without a library.

import { quoted } from "./request.js";

/** @param {import("./request.js").Request} request */
export function swift({ url, fields, files, needsKey, output }) {
  const parts = files.map(([name, , fileName]) => `try addFile(${quoted(name)}, URL(fileURLWithPath: ${quoted(fileName)}))`);
  const options = fields.map(([name, value]) => `addField(${quoted(name)}, ${quoted(value)})`);
  const key = needsKey ? '\nrequest.setValue(key, forHTTPHeaderField: "X-Api-Key")' : "";
  return `import Foundation

let boundary = UUID().uuidString
var body = Data()

func addField(_ name: String, _ value: String) {
    body.append(Data("--\\(boundary)\\r\\nContent-Disposition: form-data; name=\\"\\(name)\\"\\r\\n\\r\\n\\(value)\\r\\n".utf8))
}

func addFile(_ name: String, _ file: URL) throws {
    body.append(Data("--\\(boundary)\\r\\nContent-Disposition: form-data; name=\\"\\(name)\\"; filename=\\"\\(name)\\"\\r\\n\\r\\n".utf8))
    body.append(try Data(contentsOf: file))
    body.append(Data("\\r\\n".utf8))
}

${[...parts, ...options].join("\n")}
body.append(Data("--\\(boundary)--\\r\\n".utf8))

var request = URLRequest(url: URL(string: ${quoted(url)})!, timeoutInterval: 60)
request.httpMethod = "POST"
request.setValue("multipart/form-data; boundary=\\(boundary)", forHTTPHeaderField: "Content-Type")${key}

let (data, response) = try await URLSession.shared.upload(for: request, from: body)
guard (response as? HTTPURLResponse)?.statusCode == 200 else {
    fatalError(String(decoding: data, as: UTF8.self))
}
try data.write(to: URL(fileURLWithPath: ${quoted(output)}))`;
}
