// Untried: no Swift compiler was at hand when this was written.
//
// Cuts out the subject of a picture from an iOS app, on a network that may break off.
//
// Keep the key with the picture: a task that is started again then gets the same result, and the picture is
// processed once. For uploads that go on while the app is in the background, use the same request in a
// URLSession with a background configuration, and its delegate in place of the loop.

import Foundation

struct Refused: Error {
    let status: Int
    let detail: String
}

private struct Problem: Decodable {
    let detail: String
}

final class CutoutClient: NSObject, URLSessionTaskDelegate {
    private let server: URL
    private let attempts = 5
    private var onProgress: ((Double) -> Void)?
    private lazy var session: URLSession = {
        let configuration = URLSessionConfiguration.default
        configuration.timeoutIntervalForRequest = 90    // without any progress
        configuration.timeoutIntervalForResource = 600  // in total
        configuration.waitsForConnectivity = true
        return URLSession(configuration: configuration, delegate: self, delegateQueue: nil)
    }()

    init(server: URL) {
        self.server = server
    }

    /// Returns the cutout as PNG; `progress` gets the share of the picture that is sent, 0 to 1.
    func cutOut(_ picture: URL, key: UUID, progress: @escaping (Double) -> Void) async throws -> Data {
        onProgress = progress
        var request = URLRequest(url: server.appendingPathComponent("v1/cutout"))
        request.httpMethod = "POST"
        request.setValue("application/octet-stream", forHTTPHeaderField: "Content-Type")
        request.setValue(key.uuidString, forHTTPHeaderField: "Idempotency-Key")
        var attempt = 1
        while true {
            var waitSeconds = Double(1 << attempt)
            do {
                let (body, response) = try await session.upload(for: request, fromFile: picture)
                let http = response as! HTTPURLResponse
                if http.statusCode == 200 { return body }
                let retryAfter = http.value(forHTTPHeaderField: "Retry-After").flatMap(Double.init)
                guard let seconds = retryAfter, attempt < attempts else {
                    let problem = try? JSONDecoder().decode(Problem.self, from: body)
                    throw Refused(status: http.statusCode, detail: problem?.detail ?? "")
                }
                waitSeconds = seconds
            } catch let error as URLError where attempt < attempts && error.code != .cancelled {
                // no network, a timeout, a connection that broke off: try again
            }
            try await Task.sleep(nanoseconds: UInt64(waitSeconds * 1e9))
            attempt += 1
        }
    }

    func urlSession(
        _ session: URLSession, task: URLSessionTask, didSendBodyData bytesSent: Int64,
        totalBytesSent: Int64, totalBytesExpectedToSend: Int64
    ) {
        onProgress?(Double(totalBytesSent) / Double(totalBytesExpectedToSend))
    }
}
